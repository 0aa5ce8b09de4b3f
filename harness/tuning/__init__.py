"""Choosing settings by validation: search spaces, checks of settings, and the files of tuning results."""
