"""What the harness asks of a method, and how it finds methods."""
