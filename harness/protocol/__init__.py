"""What a score means: splits, candidates, ranks, metrics, statistics."""
