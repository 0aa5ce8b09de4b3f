"""WeaveRec, and the language-model machinery it shares with its baselines."""
