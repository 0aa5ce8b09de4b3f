"""Choosing a method's settings by validation: search spaces, studies, and the files that keep what was found."""
