"""Reports, all derived from result files."""
