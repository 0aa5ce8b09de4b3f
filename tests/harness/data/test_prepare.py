from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.domain import Domain
from harness.data.domain_store import prepare_domain
from harness.data.prepare import prepare
from harness.data.records import RawDomain
from harness.data.ties import TieOrder, tie_key
from harness.errors import HarnessError
from harness.storage.store import Store
from tests.conftest import Toy

rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 5)), max_size=80)


def raw(events: list[tuple[int, int, int]]) -> RawDomain:
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"])
    frame = frame.astype({"user_id": str, "item_id": str, "timestamp": "int64"})
    items = pd.DataFrame({"item_id": [str(i) for i in range(7)], "text": [f"text {i}" for i in range(7)]})
    return RawDomain.of("toy", frame, items)


def raw_of(domain: Domain) -> RawDomain:
    """A prepared domain as raw records."""
    frame = pd.DataFrame(
        {
            "user_id": np.array(domain.user_ids)[domain.interactions.users],
            "item_id": np.array(domain.catalogue.item_ids)[domain.interactions.items],
            "timestamp": domain.interactions.timestamps,
        }
    )
    items = pd.DataFrame({"item_id": domain.catalogue.item_ids, "text": domain.catalogue.texts})
    return RawDomain.of(domain.name, frame, items)


def brute_core(events: list[tuple[int, int, int]], k: int) -> list[tuple[int, int, int]]:
    """The k-core one removal at a time: the fixed point is unique, whatever the order of removal."""
    left = list(events)
    while True:
        users, items = Counter(u for u, _, _ in left), Counter(i for _, i, _ in left)
        bad = next((e for e in left if users[e[0]] < k or items[e[1]] < k), None)
        if bad is None:
            return left
        left.remove(bad)


def reference(events: list[tuple[int, int, int]], k: int, ties: TieOrder) -> list[tuple[str, list[str], list[int]]]:
    """The expected preparation, in plain Python: user, items and timestamps in order."""
    core = brute_core(list(dict.fromkeys(events)), k)

    def key(event: tuple[int, int, int]) -> tuple[int, str]:
        user, item, time = event
        occurrence = sum((u, i) == (user, item) and t <= time for u, i, t in core)
        return time, tie_key(ties.seed, str(user), str(item), occurrence) if ties.rule == "hashed" else ""

    sequences = []
    for user in sorted({u for u, _, _ in core}, key=str):
        events_of_user = sorted((e for e in core if e[0] == user), key=key)  # stable
        sequences.append((str(user), [str(i) for _, i, _ in events_of_user], [t for _, _, t in events_of_user]))
    return sequences


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 4), st.sampled_from([TieOrder("file"), TieOrder(), TieOrder(seed=1)]))
def test_preparation_equals_plain_python(events: list[tuple[int, int, int]], k: int, ties: TieOrder) -> None:
    expected = reference(events, k, ties)
    if not expected:
        with pytest.raises(HarnessError, match="no interaction is left"):
            prepare(raw(events), k, ties)
        return
    domain = prepare(raw(events), k, ties)
    sequences = [
        (
            user,
            [domain.catalogue.item_ids[i] for i in domain.interactions[u]],
            domain.interactions.select(np.array([u])).timestamps.tolist(),
        )
        for u, user in enumerate(domain.user_ids)
    ]
    assert sequences == expected
    assert domain.catalogue.texts == tuple(f"text {item}" for item in domain.catalogue.item_ids)


@settings(max_examples=20, deadline=None)
@given(rows, st.integers(1, 4))
def test_the_k_core_is_a_fixed_point(events: list[tuple[int, int, int]], k: int) -> None:
    if not brute_core(list(dict.fromkeys(events)), k):
        return
    domain = prepare(raw(events), k)
    counts = np.bincount(domain.interactions.items, minlength=len(domain.catalogue))
    assert min(domain.interactions.lengths.min(), counts.min()) >= k
    again = prepare(raw_of(domain), k)
    assert again.fingerprint == domain.fingerprint


@settings(max_examples=20, deadline=None)
@given(rows.filter(bool), st.randoms())
def test_the_order_of_rows_does_not_matter(events: list[tuple[int, int, int]], random: object) -> None:
    shuffled = events.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert prepare(raw(events), 1).fingerprint == prepare(raw(shuffled), 1).fingerprint


def test_ties_in_the_order_of_the_file() -> None:
    events = [(0, item, 5) for item in (3, 1, 2)]
    domain = prepare(raw(events), 1, TieOrder("file"))
    assert [domain.catalogue.item_ids[item] for item in domain.interactions[0]] == ["3", "1", "2"]


def test_duplicates_are_removed_and_repeats_stay() -> None:
    domain = prepare(raw([(0, 1, 5), (0, 1, 5), (0, 1, 6)]), 1)
    assert domain.interactions.timestamps.tolist() == [5, 6]


def test_items_without_text_stay_and_are_counted() -> None:
    source = raw([(0, 1, 5), (0, 2, 6)])
    only = RawDomain(
        "toy",
        source.interactions,
        lambda item_ids: [t.filter([i == "2" for i in t["item_id"].to_pylist()]) for t in source.items(item_ids)],
    )
    assert prepare(only, 1).catalogue.texts == ("", "text 2")
    assert [f.count for f in only.findings.noted.values()] == [1]
    none = RawDomain("toy", raw([(0, 1, 5)]).interactions, lambda item_ids: [])
    with pytest.raises(HarnessError, match="none of its 1 items is in the items file, the first is '1'"):
        prepare(none, 1)


def test_ids_are_numbered_in_the_order_of_their_text() -> None:
    ids = ["b", "a", "Ω", "é", "10", "9", "😀"]
    frame = pd.DataFrame({"user_id": ids, "item_id": ids, "timestamp": range(len(ids))})
    items = pd.DataFrame({"item_id": ids, "text": ids})
    domain = prepare(RawDomain.of("toy", frame, items), 1)
    assert list(domain.user_ids) == sorted(ids) == list(domain.catalogue.item_ids)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (duckdb.TransactionException, "Failed to commit: Could not write file: No space left on device"),
        (duckdb.FatalException, "database has been invalidated: No space left on device"),
        (duckdb.IOException, "Could not write file: Disk quota exceeded"),
        (duckdb.OutOfMemoryException, "could not allocate block"),
        (OSError, "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
    ],
)
def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], text: str
) -> None:
    def full(*_: object) -> None:
        raise kind(text)

    monkeypatch.setattr("harness.data.prepare._write", full)
    with pytest.raises(HarnessError, match=r"in .* failed: .*Free some disk space") as error:
        prepare_domain(Store(tmp_path), Toy(seed=1), "left", 1, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob(".*"))


def test_other_errors_of_the_database_are_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise duckdb.ParserException("syntax error")

    monkeypatch.setattr("harness.data.prepare._write", wrong)
    with pytest.raises(duckdb.ParserException):
        prepare_domain(Store(tmp_path), Toy(seed=1), "left", 1, tmp_path)


def test_fingerprint_is_over_content() -> None:
    one = prepare(raw([(0, 1, 5), (0, 2, 6)]), 1)
    other = prepare(raw([(0, 1, 5), (0, 2, 7)]), 1)
    assert one.fingerprint != other.fingerprint
    assert not np.shares_memory(one.interactions.items, other.interactions.items)
