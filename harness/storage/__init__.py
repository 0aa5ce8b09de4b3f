"""Files, locks, digests and the content-addressed store."""
