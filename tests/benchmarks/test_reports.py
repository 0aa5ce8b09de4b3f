"""Speed of reports: ratios within a group, and the limits for thousands of results."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.protocol.ranks import Ranks
from harness.protocol.significance import simultaneous_p_values
from harness.report.cached import Reports
from harness.results.ranks_table import RankTable
from harness.storage.store import Store
from tests.benchmarks.many_results import write_many

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 results."""
    folder = tmp_path_factory.mktemp("many") / "results"
    write_many(folder, scenarios=6, methods=20, seeds=5)
    return folder


@pytest.mark.parametrize("variant", ["cold", "cached"])
def test_board_of_600_results(benchmark, results: Path, tmp_path: Path, variant: str) -> None:
    """A board from its files, and from the cache."""
    benchmark.group = "board of 600 results"
    cached, stores = Store(tmp_path / "cached"), iter(Store(tmp_path / str(number)) for number in range(9))

    def board() -> None:
        Reports(results, cached if variant == "cached" else next(stores)).board("made", 1)

    benchmark.pedantic(board, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("variant", ["histogram", "user by user"])
def test_metrics_of_a_table(benchmark, variant: str) -> None:
    """The recorded metrics of 20,000 users in five slices, as they are checked and as they are written."""
    benchmark.group = "metrics of a table"
    rng = np.random.default_rng(0)
    above = rng.integers(0, 100, 20_000)
    slices = {"all": np.ones(len(above), bool), **{f"s{i}": rng.random(len(above)) < 0.3 for i in range(4)}}
    table = RankTable({"full": Ranks(above, np.zeros_like(above), np.full_like(above, 100))}, slices)
    benchmark(table.approximate_metrics if variant == "histogram" else table.metrics, "full")


@pytest.mark.parametrize("variant", ["differences", "matrix product"])
def test_all_pairs_of_120_rows(benchmark, variant: str) -> None:
    """The test of all pairs of rows; a contrast times two is no difference of rows, and has the same p-value."""
    benchmark.group = "all pairs of 120 rows"
    values = np.random.default_rng(0).normal(size=(120, 3, 300))
    left, right = np.triu_indices(120, 1)
    contrasts = np.eye(120)[left] - np.eye(120)[right]
    benchmark.pedantic(
        simultaneous_p_values, (values, contrasts * (1 if variant == "differences" else 2)), rounds=3, warmup_rounds=1
    )


@pytest.mark.slow
def test_5000_results(tmp_path: Path) -> None:
    """The command from files to board, and again from the cache: 30 and 2 CPU-seconds, with room for a busy machine."""
    assert write_many(tmp_path / "results") == 5000
    command = [sys.executable, "-m", "harness.cli", "leaderboard", "--output-dir", str(tmp_path)]
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--cache-dir", str(tmp_path / "cache")], check=True, cwd=ROOT, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak_gb = after.ru_maxrss * 1024 / 1e9  # of the largest child
    print(f"CPU-seconds {seconds}, peak {peak_gb:.2f} GB")
    assert seconds[0] < 60
    assert seconds[1] < 4
    assert peak_gb < 1
