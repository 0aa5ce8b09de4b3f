"""Readers of raw data, one module a format, each giving the same two tables."""

from harness.data.sources.registry import SOURCES, make_source
from harness.data.sources.source import Source

__all__ = ["SOURCES", "Source", "make_source"]
