"""A benchmark and evaluation harness for cross-domain sequential recommendation."""

__version__ = "0.1.0"
