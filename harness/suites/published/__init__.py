"""Figures that others have published, with the protocol that they were made under."""

from harness.suites.published.registry import Data, Figure, Protocol, Source, published_sources, read_source

__all__ = ["Data", "Figure", "Protocol", "Source", "published_sources", "read_source"]
