"""Suites: named, versioned benchmarks in YAML files."""

from harness.suites.load import load_suite, pick_scenarios, shipped_suite, suite_names, suite_versions

__all__ = ["load_suite", "pick_scenarios", "shipped_suite", "suite_names", "suite_versions"]
