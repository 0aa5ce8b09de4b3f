"""Task vectors, merging rules and the search for their parameters."""
