"""Raw sources -> Domain."""

from harness.data.domain import Catalogue, Domain, Sequences

__all__ = ["Catalogue", "Domain", "Sequences"]
