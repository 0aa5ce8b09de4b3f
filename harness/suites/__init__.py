"""Suites: named, versioned benchmarks in YAML files."""

from harness.suites.load import current_suite, load_suite, pick_scenarios, shipped_suite, suite_names, suite_versions

__all__ = ["current_suite", "load_suite", "pick_scenarios", "shipped_suite", "suite_names", "suite_versions"]
