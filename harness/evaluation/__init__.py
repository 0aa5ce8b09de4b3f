"""From a scorer to ranks."""
