"""The fingerprint of a suite, by which a submission says for which state of it the results were made."""

from dataclasses import asdict

from harness.protocol.suite import Suite
from harness.storage.files import digest


def suite_fingerprint(suite: Suite) -> str:
    """SHA-256 (hex) of all in a suite that can change a score of somebody else's method.

    Not its own methods, their settings and their seeds.
    """
    return digest(
        {
            "suite": suite.id,
            "domains": {spec.name: spec.definition for spec in suite.domains},
            "scenarios": [asdict(scenario) for scenario in suite.scenarios],
            "candidates": sorted(suite.candidates),
            "candidate_seed": suite.candidate_seed,
            "least_recall": suite.least_recall,
            "test_users": suite.test_users,
            "budget": asdict(suite.budget),
        }
    )
