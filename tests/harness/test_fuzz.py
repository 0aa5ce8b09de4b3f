"""Fuzzed suites, tunings and results are read or raise a one-line HarnessError; no hang."""

import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from harness.report.collect import collect
from harness.results.files import read_result
from harness.run.methods import suite_method
from harness.suites import load_suite
from harness.tuning.record import read_tuning
from tests.harness.report.test_leaderboard import run_all

#: Time limit of a file: a hundred times more than any should take.
SECONDS = 20
SUITES = Path("harness/suites")
VALUES = [
    None, True, -1, 0, 1, 2**63, 10**400, 1e-3, -0.5, float("nan"), float("inf"), "", " ", "1e-3", "full",
    "cdsr", "../x", "a/b", "\0", "\ud800", "[bold]", "|", "x" * 10_000, [], {}, [[]], [{}], {"a": {}}, ["full"],
    [None], {"name": 1}, "!!int", "0x10",
]  # fmt: skip
PIECES = [
    b"\0", b"\xff", b"!!int ''", b"!!python/object:os.system ''", b"!!set {a, b}", b"2020-01-01", b"&a [*a]",
    b"*a", b"<<: *a", b"[" * 300, b"{" * 300, b"- " * 200, b"\t", b":", b"\n", b"'", b'"', b"\xef\xbb\xbf",
    b"\xff\xfe", b"9" * 500, b"1e999", b".nan", b"? ", b"| ", b"---\n", b"%YAML 9.9\n", b"null", b"{}",
    b"a: 1\na: 2\n", b"\\ud800", b"NaN", b"Infinity",
]  # fmt: skip


@contextmanager
def in_time() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"took over {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def entries_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers and keys inside a value, recursively."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from entries_of(inner)


def broken_value(value: Any, rng: random.Random) -> Any:
    """A value with some parts replaced, removed, renamed or moved."""
    value = deepcopy(value)
    for _ in range(rng.randrange(1, 4)):
        container, key = rng.choice(list(entries_of(value)) or [([0], 0)])
        act = rng.randrange(5)
        if act == 0:
            del container[key]
        elif act == 1 and isinstance(container, dict):
            container[str(key) + rng.choice("xs_ ")] = container.pop(key)
        elif act == 2:
            other, name = rng.choice(list(entries_of(value)))
            container[key] = deepcopy(other[name])
        else:
            container[key] = rng.choice(VALUES)
    return value


def broken_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes that are cut, flipped, or have pieces inserted."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        act = rng.randrange(4)
        if act == 0:
            data = data[:at]
        elif act == 1 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif act == 2:
            data = data[:at] + data[at + rng.randrange(1, 40) :]
        else:
            data = data[:at] + rng.choice(PIECES) + data[at:]
    return data


def outcome(read: Callable[[], object]) -> str:
    """`read`, or `refused` with a one-line error."""
    with in_time():
        try:
            read()
        except HarnessError as error:
            line = str(error)
        else:
            return "read"
    assert "\n" not in line
    assert len(line) < 2_000
    return "refused"


def dumped(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", errors="surrogatepass")


def fuzz_suites(folder: Path, seeds: range) -> Counter[str]:
    path = folder / "mine.yaml"
    bases = [yaml.safe_load(file.read_bytes()) | {"suite": "mine"} for file in sorted(SUITES.glob("*/v*.yaml"))]
    bases[0] |= {"settings": {"markov": {"prior": 2.0}, "sasrec": {"parameters.n_layers": 1}}, "least_recall": 0.9}

    def read() -> None:
        suite = load_suite(str(path))
        for name in suite.settings:
            suite_method(suite, name)

    outcomes: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        base = rng.choice(bases)
        whole = rng.random() < 0.6
        path.write_bytes(dumped(broken_value(base, rng)) if whole else broken_bytes(dumped(base), rng))
        outcomes[outcome(read)] += 1
    return outcomes


def fuzz_tunings(folder: Path, seeds: range) -> Counter[str]:
    path = folder / "sasrec.yaml"
    data = next(iter(sorted(SUITES.glob("*/v*.tuned/sasrec/*.yaml")))).read_bytes()
    base = yaml.safe_load(data)
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        path.write_bytes(dumped(broken_value(base, rng)) if rng.random() < 0.5 else broken_bytes(data, rng))
        outcomes[outcome(lambda: read_tuning(path))] += 1
    return outcomes


def fuzz_results(results: Path, seeds: range) -> Counter[str]:
    home = results / "toy" / "v1" / "left-from-right"
    files = {path: path.read_bytes() for path in [*sorted(home.glob("popularity-seed0.*")), home / "users.parquet"]}
    record = next(path for path in files if path.suffix == ".json")
    base = json.loads(files[record])
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        if rng.random() < 0.6:
            text = json.dumps(broken_value(base, rng))
            record.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        else:
            path = rng.choice(list(files))
            path.write_bytes(broken_bytes(files[path], rng))
        outcomes[outcome(lambda: read_result(record))] += 1
        if seed % 20 == 0:
            outcomes["board " + outcome(lambda: collect(results, "toy", 1))] += 1
        for path, data in files.items():
            path.write_bytes(data)
    return outcomes


def run(toy: Any, folder: Path, seeds: range) -> dict[str, Counter[str]]:
    return {
        "suites": fuzz_suites(folder, seeds),
        "tunings": fuzz_tunings(folder, seeds[::4]),
        "results": fuzz_results(run_all(toy), seeds),
    }


def test_fuzzed_files(toy, tmp_path: Path) -> None:
    outcomes = run(toy, tmp_path, range(150))
    assert all(counts["refused"] > 20 for counts in outcomes.values()), outcomes


@pytest.mark.slow
def test_ten_thousand_fuzzed_files(toy, tmp_path: Path) -> None:
    outcomes = run(toy, tmp_path, range(1_000, 6_000))
    assert all(counts["refused"] > 500 for counts in outcomes.values()), outcomes
