"""Data sources: one module a file format, each yielding interactions and items."""

from harness.data.sources.registry import make_source, source_class, source_names
from harness.data.sources.source import Source

__all__ = ["Source", "make_source", "source_class", "source_names"]
