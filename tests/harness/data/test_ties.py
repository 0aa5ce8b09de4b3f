"""Ties are ordered by hash or file, and the audit detects orders that are not random."""

import gzip
import json
import random
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.data.domain import Catalogue, Domain, Sequences
from harness.data.domain_files import read_domain
from harness.data.domain_store import load_domain, prepare_domain
from harness.data.prepare import prepare, prepare_into
from harness.data.records import RawDomain
from harness.data.sources import make_source
from harness.data.ties import (
    Extremes,
    ItemOrder,
    Rising,
    TieAudit,
    TieOrder,
    audit_of_counts,
    count_order,
    tie_audit,
    tie_key,
)
from harness.storage.store import Store
from tests.harness.data.test_prepare import raw

FILE = TieOrder("file")


def domain_at(sequences: list[list[tuple[int, int]]], item_ids: list[str], timed: bool = True) -> Domain:
    """A domain of (item, time) sequences."""
    flat = np.array([event for sequence in sequences for event in sequence], dtype=np.int64).reshape(-1, 2)
    offsets = np.cumsum([0, *map(len, sequences)])
    catalogue = Catalogue(tuple(item_ids), tuple(item_ids))
    users = tuple(f"u{u:03}" for u in range(len(sequences)))
    return Domain("toy", catalogue, users, Sequences(offsets, flat[:, 0], flat[:, 1]), timed)


def test_tie_key() -> None:
    assert tie_key(0, "u1", "i1", 1) == sha256(b"0:2:u1:2:i1:1").hexdigest()[:16]
    assert tie_key(7, "é", "b", 2) == sha256(b"7:2:\xc3\xa9:1:b:2").hexdigest()[:16]
    assert tie_key(0, "u:1", "", 10) == sha256(b"0:3:u:1:0::10").hexdigest()[:16]
    # Known values, which must not change with Python or DuckDB.
    assert [tie_key(0, "u1", "i1", 1), tie_key(7, "é", "b", 2), tie_key(0, "u:1", "", 10)] == KNOWN


KNOWN = ["1f65d3f65773c25d", "c0c34ebf08ec2cd6", "ae0dc31400494eec"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=3), st.text(min_size=1, max_size=3)), min_size=1, max_size=30),
    st.integers(0, 2**63 - 1),
)
def test_ties_are_sorted_by_their_key(events: list[tuple[str, str]], seed: int) -> None:
    frame = pd.DataFrame([(f"u{u}", f"i{i}", 5) for u, i in events], columns=["user_id", "item_id", "timestamp"])
    items = pd.DataFrame({"item_id": frame["item_id"].unique(), "text": "x"})
    domain = prepare(RawDomain.of("toy", frame, items), 1, TieOrder(seed=seed))
    for user, indices in zip(domain.user_ids, domain.interactions, strict=True):
        keys = [tie_key(seed, user, domain.catalogue.item_ids[item], 1) for item in indices]
        assert keys == sorted(keys)


def test_hashed_ties_are_random() -> None:
    domain = prepare(raw([(user, item, 5) for user in range(2000) for item in range(7)]), 1)
    items = domain.interactions.items.reshape(2000, 7)
    # By chance 1/2, with a standard error below .005; each item is last for 1/7 of the users.
    assert abs((np.diff(items) > 0).mean() - 0.5) < 0.02
    assert np.abs(np.bincount(items[:, -1]) / 2000 - 1 / 7).max() < 0.04


def naive(domain: Domain, ids: list) -> tuple[float, float, float, float, Rising, Rising]:
    """The audit of a timed domain, event by event."""
    tied = previous = followers = test = validation = users = 0
    rising: dict[bool, list[bool]] = {True: [], False: []}
    for user in range(len(domain.interactions)):
        events = domain.interactions.select(np.array([user]))
        times, values = events.timestamps.tolist(), [ids[item] for item in events.items]
        in_tie = [times.count(time) > 1 for time in times]
        tied += sum(in_tie)
        followers += max(0, len(times) - 1)
        for i in range(1, len(times)):
            same = times[i] == times[i - 1]
            previous += same
            if values[i] != values[i - 1]:
                rising[same].append(values[i] > values[i - 1])
        if len(times) >= 3:
            users, test, validation = users + 1, test + in_tie[-1], validation + in_tie[-2]
    within, outside = (Rising(sum(r) / len(r) if r else None, len(r)) for r in (rising[True], rising[False]))
    return (
        tied / len(domain.interactions.items),
        previous / followers if followers else None,
        test / users if users else None,
        validation / users if users else None,
        within,
        outside,
    )  # type: ignore[return-value]


sequences = st.lists(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3)), min_size=1, max_size=8).map(
        lambda events: sorted(events, key=lambda event: event[1])
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(sequences, st.booleans())
def test_audit_equals_counting_event_by_event(events: list[list[tuple[int, int]]], integers: bool) -> None:
    ids = [f"{item}" if integers else f"i{item}" for item in range(12)]
    domain = domain_at(events, ids)
    audit = tie_audit(domain)
    shares = (audit.tied, audit.tied_with_previous, audit.test_tied, audit.validation_tied)
    assert audit.within is not None
    assert (*shares, audit.within.ids, audit.outside.ids) == naive(domain, ids)
    assert (audit.within.numbers is not None) == integers
    if integers:
        assert (*shares, audit.within.numbers, audit.outside.numbers) == naive(domain, list(range(12)))


@settings(max_examples=30, deadline=None)
@given(sequences, st.booleans())
def test_counts_of_parts_add_up(events: list[list[tuple[int, int]]], timed: bool) -> None:
    domain = domain_at(events, [str(item) for item in range(12)], timed)
    ids = ItemOrder.of(domain.catalogue.item_ids)
    rows = domain.interactions

    def part(users: range) -> dict[str, float]:
        events = rows.where(np.isin(rows.users, users))
        return count_order(events.users, events.items, events.timestamps, ids, timed)

    for cut in range(len(events) + 1):
        parts = [part(range(cut)), part(range(cut, len(events)))]
        split, whole = audit_of_counts(parts, [], ids, timed, TieOrder()), tie_audit(domain)
        assert (split.within, split.outside, split.test_tied) == (whole.within, whole.outside, whole.test_tied)
        assert split.last_chance == pytest.approx(whole.last_chance)
        assert split.last_numbers == whole.last_numbers


def test_audit_without_timestamps() -> None:
    # Users with 4 distinct items, 60 of 100 with the largest one last; a user with a repeated item; a short one.
    events = [[(0, 0), (2, 1), (1, 2), (3, 3)]] * 60 + [[(3, 0), (2, 1), (1, 2), (0, 3)]] * 40
    events += [[(5, 0), (5, 1), (6, 2)], [(9, 0), (10, 1)]]
    audit = tie_audit(domain_at(events, [str(item) for item in range(11)], False))
    assert audit.users == 101
    assert audit.last_numbers == Extremes(61 / 101, 40 / 101)
    assert audit.last_chance == pytest.approx((100 / 4 + 1 / 2) / 101)
    assert (audit.order, audit.tied, audit.within, audit.test_tied) == (None, None, None, None)
    assert any("largest id of its user for 60.4% of users and the smallest for 39.6%" in w for w in audit.warnings())


def test_random_orders_give_no_warning() -> None:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(12)[:6] for _ in range(500)]
    ids = [str(item) for item in range(12)]
    untimed = domain_at([[(int(i), n) for n, i in enumerate(order)] for order in orders], ids, False)
    assert tie_audit(untimed).warnings() == []
    tied = domain_at([[(int(i), 0) for i in order] for order in orders], ids)
    assert tie_audit(tied, FILE).warnings() == []
    # In this order, ids rise as numbers and not as text; the warning names numbers.
    numbers = domain_at([[(i, 0) for i in range(8, 12)]] * 100, ids)
    audit = tie_audit(numbers, FILE)
    assert audit.id_kind == "numbers"
    (warning,) = audit.warnings()
    assert "rise in 100.0% of 300 neighbours (as numbers; 50 % by chance)" in warning
    assert "decides the test event of 100.0% of users" in warning


def write_films(folder: Path, rows: list[tuple[int, int, int]]) -> None:
    (folder / "ml-25m").mkdir(parents=True)
    lines = "".join(f"{user},{film},4.0,{time}\n" for user, film, time in rows)
    (folder / "ml-25m" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + lines)
    films = "".join(f"{film},Film {film},Drama\n" for film in range(60))
    (folder / "ml-25m" / "movies.csv").write_text("movieId,title,genres\n" + films)


def test_hashed_ties_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    """Six films share a timestamp; the published file is sorted by user and film."""
    rng = np.random.default_rng(1)
    rows = [
        (user, int(film), 1_500_000_000 + 86_400 * (n // 6))
        for user in range(200)
        for n, film in enumerate(rng.permutation(60)[:18])
    ]
    preparations = {}
    for name, lines in (("original", rows), ("published", sorted(rows))):
        write_films(tmp_path / name, lines)
        for ties in (TieOrder(), FILE):
            store = Store(tmp_path / "domains")
            source = make_source({"source": "movielens-25m"})
            preparations[name, ties.rule] = prepare_domain(
                store, source, "films", 1, tmp_path / name, ties=ties
            ).preparation
    assert preparations["original", "hashed"].fingerprint == preparations["published", "hashed"].fingerprint
    assert preparations["original", "file"].fingerprint != preparations["published", "file"].fingerprint
    shipped, hashed = preparations["published", "file"].ties, preparations["published", "hashed"].ties
    assert shipped.file_within == shipped.within
    assert shipped.within.numbers == hashed.file_within.numbers == Rising(1.0, 3000)
    assert abs(hashed.within.numbers.share - 0.5) < 0.05
    assert abs(hashed.within.places.share - 0.5) < 0.05
    assert (hashed.tied, hashed.test_tied, hashed.order) == (1.0, 1.0, "hashed, seed 0")
    (warning,) = shipped.warnings()
    assert "rise in 100.0% of 3,000 neighbours" in warning
    (warning,) = hashed.warnings()
    assert warning.startswith("within ties of the file, item ids rise in 100.0%")
    assert f"order of ties: {warning}" in preparations["published", "hashed"].lines()
    assert preparations["original", "file"].ties.warnings() == preparations["original", "hashed"].ties.warnings() == []


@pytest.mark.parametrize("ties", [TieOrder(), FILE])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40))
def test_preparation_and_tie_audit_agree(ties: TieOrder, events: list) -> None:
    with TemporaryDirectory() as folder:
        prepared = prepare_into(Path(folder), raw(events), 1, ties=ties).ties
        audit = tie_audit(read_domain(Path(folder), "toy", True), ties)
    for name in ("order", "events", "tied", "tied_with_previous", "users", "validation_tied", "test_tied"):
        assert getattr(prepared, name) == getattr(audit, name)
    assert (prepared.within.ids, prepared.within.numbers) == (audit.within.ids, audit.within.numbers)
    assert (prepared.outside.ids, prepared.outside.numbers) == (audit.outside.ids, audit.outside.numbers)


def test_preparation_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    events = [(int(u), int(i), int(t)) for u, i, t in zip(*rng.integers(0, 7, (3, 300)), strict=True)]
    whole = prepare(raw(events), 1)
    monkeypatch.setattr("harness.data.prepare._BATCH_SIZE", 7)
    assert prepare(raw(events), 1).fingerprint == whole.fingerprint


# Ids whose order differs as text, as numbers and by case; times with ties, duplicates and fractions.
USERS, ITEMS = ("a", "A", "10", "9"), ("1", "2", "10", "x y", "é")
TIMES = ("1500000000", "1500000000.5", "1500000001", "1500086400")
rows = st.lists(st.tuples(*map(st.sampled_from, (USERS, ITEMS, TIMES))), min_size=1, max_size=25)
texts = st.lists(st.tuples(st.sampled_from(ITEMS), st.sampled_from(("Kettle", "kettle", "Lamp", ""))), max_size=12)


def write_table(folder: Path, kind: str, events: list, items: list) -> dict:
    frames = {
        "e": pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"]),
        "i": pd.DataFrame(items, columns=["item_id", "title"]),
    }
    for name, frame in frames.items():
        if kind == "parquet":
            frame.to_parquet(folder / f"{name}.parquet", index=False)
        else:
            frame.to_csv(folder / f"{name}.{kind}", index=False, sep="," if kind.startswith("csv") else "\t")
    return {"source": "table", "interactions": f"e.{kind}", "items": f"i.{kind}"}


def write_records(folder: Path, events: list, items: list) -> dict:
    reviews = [json.dumps({"reviewerID": u, "asin": i, "unixReviewTime": float(t)}) for u, i, t in events]
    (folder / "r.json.gz").write_bytes(gzip.compress("\n".join(reviews).encode()))
    (folder / "m.json").write_text("\n".join(json.dumps({"asin": i, "title": t}) for i, t in items))
    return {"source": "amazon-2018", "reviews": "r.json.gz", "meta": "m.json"}


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet", "jsonl"])
@settings(max_examples=12, deadline=None)
@given(rows, texts, st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_change_the_domain(
    kind: str, events: list, items: list, rng: random.Random
) -> None:
    items = [(item, "Thing") for item in ITEMS] + items
    write = write_records if kind == "jsonl" else partial(write_table, kind=kind)
    fingerprints = set()
    for lines, described in ((events, items), (rng.sample(events, len(events)), rng.sample(items, len(items)))):
        with TemporaryDirectory() as folder:
            source = make_source(write(Path(folder), events=lines, items=described))
            fingerprints.add(prepare(source.open("toy", Path(folder)), 1).fingerprint)
    assert len(fingerprints) == 1


def test_of_two_texts_of_an_item_the_first_in_order_is_used(tmp_path: Path) -> None:
    events = [("a", "1", "1500000000"), ("a", "2", "1500000001"), ("b", "10", "1500000000")]
    items = [("1", "b"), ("1", ""), ("1", "a"), ("2", ""), ("10", "z")]
    for number, order in enumerate((items, items[::-1], items[2:] + items[:2])):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = make_source(write_table(folder, "csv", events, order))
        preparation = prepare_domain(Store(tmp_path / "domains"), source, "toy", 1, folder).preparation
        catalogue = load_domain(Store(tmp_path / "domains"), preparation.fingerprint, "toy").catalogue
        assert (catalogue.item_ids, catalogue.texts) == (("1", "10", "2"), ("a", "z", ""))
        assert {oddity: n for oddity, (n, _) in preparation.noted.items()} == {
            "items described twice; the text that sorts first is used": 2,
            "items without text: a language model sees an empty text": 1,
        }


def test_audit_round_trip_through_json() -> None:
    adapter = TypeAdapter(TieAudit)
    audit = tie_audit(domain_at([[(0, 1), (1, 1), (2, 1)]] * 3, ["1", "2", "x"]), FILE)
    assert adapter.validate_json(adapter.dump_json(audit)) == audit
