"""What people read: always derived from result files, never typed."""
