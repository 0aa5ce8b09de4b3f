"""Write thousands of synthetic results, to try reports at a size that no suite has yet.

Run with: python -m tests.benchmarks.many_results FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from tests.harness.report.made_results import ITEMS, write_made


def write_many(results: Path, scenarios: int = 10, methods: int = 100, seeds: int = 5, users: int = 800) -> int:
    """Write results of a suite `made`: ranks on two candidate sets, lists, and a reference for all methods but one.

    Methods differ a little, seeds less, and the users of a scenario are alike for all methods.

    Args:
        results: a folder of results.
        scenarios: number of scenarios, each of other users.
        methods: methods of each.
        seeds: seeds of each method.
        users: test users of each scenario.

    Returns:
        The number of results.
    """
    rng = np.random.default_rng(0)
    for scenario in range(scenarios):
        target, source = f"target{scenario}", f"source{scenario}"
        difficulty = rng.normal(20, 10, users)
        ids = tuple(f"u{scenario * users + user}" for user in range(users))
        for method in range(methods):
            for seed in range(seeds):
                place = difficulty - method / 20 + rng.normal(0, 1) / 5 + rng.normal(0, 4, users)
                above = np.clip(place, 0, len(ITEMS) - 1).astype(int)
                write_made(
                    results,
                    f"method{method:03}",
                    seed,
                    {"full": above, "sampled-30": above * 30 // len(ITEMS)},
                    scenario=(target, source),
                    users=ids,
                    lists=(np.arange(20) + above[:, None]) % len(ITEMS),
                    changes={"learns_from": [target, source], "reference": "method000"} if method else None,
                )
    return scenarios * methods * seeds


if __name__ == "__main__":
    print(write_many(Path(sys.argv[1]) / "results"), "results")
