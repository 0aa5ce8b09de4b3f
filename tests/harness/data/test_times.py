"""Times are read exactly in every format, and a wrong unit is reported."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.domain import Domain, Sequences
from harness.data.domain_store import load_domain, prepare_domain
from harness.data.prepare import Preparation
from harness.data.sources import make_source
from harness.data.times import (
    NANOSECONDS,
    as_day,
    as_seconds,
    coarsest_unit,
    fitting_unit,
    read_times,
)
from harness.errors import HarnessError
from harness.storage.store import Store
from tests.conftest import domain_of

LATEST = 1_800_000_000 * 10**9  # 2027-01-15

#: Text in the file, named unit, and Unix nanoseconds or the reason why there are none.
WRITTEN: list[tuple[str | None, str, int | str]] = [
    ("1500000000", "s", 1_500_000_000_000_000_000),
    (" 1500000000 ", "s", 1_500_000_000_000_000_000),
    ("+1500000000", "s", 1_500_000_000_000_000_000),
    ("1500000000.0", "s", 1_500_000_000_000_000_000),
    ("1505000000.090", "s", 1_505_000_000_090_000_000),
    ("1505000000.123456789", "s", 1_505_000_000_123_456_789),
    ("1505000000.1234567899", "s", 1_505_000_000_123_456_789),
    ("1.5e9", "s", 1_500_000_000_000_000_000),
    ("1.50500000009E+09", "s", 1_505_000_000_090_000_000),
    ("1500000000123", "ms", 1_500_000_000_123_000_000),
    ("1500000000123.25", "ms", 1_500_000_000_123_250_000),
    ("1500000000123456", "us", 1_500_000_000_123_456_000),
    ("1500000000123456789", "ns", 1_500_000_000_123_456_789),
    ("1500000000", "auto", 1_500_000_000_000_000_000),
    ("1500000000123", "auto", 1_500_000_000_123_000_000),
    ("1500000000123456", "auto", 1_500_000_000_123_456_000),
    ("1500000000123456789", "auto", 1_500_000_000_123_456_789),
    ("1500000000.5", "auto", 1_500_000_000_500_000_000),
    ("0", "s", 0),
    ("-0.0", "s", 0),
    ("2017-07-14", "date", 1_499_990_400_000_000_000),
    ("20170714", "date", 1_499_990_400_000_000_000),
    ("2017-07-14", "s", 1_499_990_400_000_000_000),
    ("2017-07-14 02:40:00", "ms", 1_500_000_000_000_000_000),
    ("2017-07-14T02:40:00Z", "s", 1_500_000_000_000_000_000),
    ("2017-07-14T02:40:00.123456789Z", "auto", 1_500_000_000_123_456_789),
    ("2017-07-14T02:40:00,5", "date", 1_500_000_000_500_000_000),
    ("2017-07-14 04:40:00.09+02:00", "date", 1_500_000_000_090_000_000),
    ("2017-07-13T19:40:00-0700", "s", 1_500_000_000_000_000_000),
    ("2017-07-14 02:40:00.5 UTC", "s", 1_500_000_000_500_000_000),
    ("1500000000", "date", "missing"),
    ("now", "date", "missing"),
    ("yesterday", "s", "missing"),
    ("", "s", "missing"),
    (None, "s", "missing"),
    ("nan", "s", "missing"),
    ("1_500_000_000", "s", "missing"),
    ("0x10", "s", "missing"),
    ("2017-13-01", "s", "missing"),
    ("-1", "s", "negative"),
    ("-0.001", "s", "negative"),
    ("1969-12-31", "s", "negative"),
    ("1900000000", "s", "future"),
    ("1500000000000", "s", "future"),
    ("9" * 40, "s", "future"),
    ("1e300", "ms", "future"),
    ("9300000000000000000", "ns", "future"),
    ("93000000000000000000", "ns", "future"),
    ("9.3e18", "ns", "future"),
    ("1.500000000123456789e18", "ns", 1_500_000_000_123_456_789),
    ("2417-03-01", "s", "future"),
    ("9999-12-31T23:59:59Z", "auto", "future"),
    ("1066-10-14", "date", "negative"),
    ("2199-01-01", "date", "future"),
]


@pytest.mark.parametrize(("written", "unit", "expected"), WRITTEN)
@pytest.mark.parametrize("beside", ["1500000000", "x", "2017-07-14", "1.5"])
def test_times_are_read_exactly_in_mixed_columns(written, unit, expected, beside) -> None:
    instants = read_times(pa.array([beside, written, beside], pa.string()), unit, LATEST)
    problems = {name for name in ("missing", "negative", "future") if getattr(instants, name)[1]}
    assert problems == ({expected} if isinstance(expected, str) else set())
    assert instants.nanoseconds[1] == (0 if isinstance(expected, str) else expected)
    assert instants.usable[1] == (not problems)


@pytest.mark.parametrize(
    ("written", "time_format", "seconds"),
    [
        ("14.07.2017 02:40", "%d.%m.%Y %H:%M", "1500000000"),
        ("07/14/17", "%m/%d/%y", "1499990400"),
        ("14 Jul 2017 02:40:00.25 +0000", "%d %b %Y %H:%M:%S.%f %z", "1500000000.25"),
        ("20170714024000", "%Y%m%d%H%M%S", "1500000000"),
        ("2017-07-14", "%d.%m.%Y", None),
        ("1500000000", "%d.%m.%Y", None),
    ],
)
def test_time_format(written: str, time_format: str, seconds: str | None) -> None:
    instants = read_times(pa.array([written]), "s", LATEST, time_format)
    assert bool(instants.missing[0]) == (seconds is None)
    assert seconds is None or as_seconds(int(instants.nanoseconds[0])) == seconds


@settings(deadline=None)
@given(st.integers(0, LATEST), st.sampled_from(list(NANOSECONDS)))
def test_decimals_are_read_exactly(nanoseconds: int, unit: str) -> None:
    written = f"{Decimal(nanoseconds) / NANOSECONDS[unit]:f}"
    assert read_times(pa.array([written]), unit, LATEST).nanoseconds.tolist() == [nanoseconds]


@settings(deadline=None)
@given(st.integers(0, LATEST))
def test_as_seconds_is_exact(nanoseconds: int) -> None:
    written = as_seconds(nanoseconds)
    assert int(Decimal(written) * 10**9) == nanoseconds
    assert ("." in written) == (nanoseconds % 10**9 > 0)
    assert as_day(written) == as_day(nanoseconds // 10**9)


@pytest.mark.parametrize(
    ("nanoseconds", "unit"),
    [([0, 5 * 10**9], "s"), ([10**9, 10**6], "ms"), ([10**9, 1_000], "us"), ([10**9, 1], "ns"), ([], "s")],
)
def test_coarsest_unit(nanoseconds: list[int], unit: str) -> None:
    assert coarsest_unit(np.array(nanoseconds, dtype=np.int64)) == unit


def test_fitting_unit() -> None:
    numbers = np.array([1.5e9, 1.5e12, 1.5e15, 1.5e18, 5.0, np.nan])
    assert fitting_unit(numbers, LATEST).tolist() == ["s", "ms", "us", "ns", "", ""]


def test_fingerprint_of_times_in_several_units() -> None:
    """The first value is from a version that supported seconds only."""

    def fingerprint(times: list[int], timed: bool = True) -> str:
        whole = domain_of([[0, 1], [2, 0]], 3)
        sequences = Sequences(whole.interactions.offsets, whole.interactions.items, np.array(times))
        return Domain("toy", whole.catalogue, whole.user_ids, sequences, timed).fingerprint

    seconds = [10, 20, 10, 30]
    assert (
        fingerprint([t * 10**9 for t in seconds]) == "96b1c790fc176217066c71c51b384a678a20314971f0d759e6551c31bb9fdc96"
    )
    # The same numbers in other units give other domains.
    assert len({fingerprint([t * factor for t in seconds]) for factor in (1, 10**3, 10**6, 10**9)}) == 4
    assert fingerprint(seconds, timed=False) == "5a7d81b95e2f51bdd930ca2180dbf805171897e5a993a0e3f11dd52787ce49b2"


def prepared(folder: Path, **options: object) -> tuple[Domain, Preparation]:
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{i},Title of i{i}\n" for i in range(8)))
    store = Store(folder / "domains")
    source = make_source({"source": "table", "interactions": "events.csv", "items": "items.csv", **options})
    preparation = prepare_domain(store, source, "shop", 1, folder).preparation
    return load_domain(store, preparation.fingerprint, "shop"), preparation


def write_events(folder: Path, rows: list[tuple[str, str, object]]) -> None:
    lines = [f"{user},{item},{time}" for user, item, time in rows]
    (folder / "events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")


def in_order(domain: Domain) -> list[list[str]]:
    return [[domain.catalogue.item_ids[item] for item in items] for items in domain.interactions]


STEP = timedelta(milliseconds=90)
FORMATS = {
    "ms": (lambda t: round(t.timestamp() * 1000), {"time_unit": "ms"}),
    "us": (lambda t: round(t.timestamp() * 1000) * 1000, {"time_unit": "us"}),
    "ns": (lambda t: round(t.timestamp() * 1000) * 10**6, {"time_unit": "ns"}),
    "decimal seconds": (lambda t: f"{t.timestamp():.3f}", {}),
    "inferred from size": (lambda t: round(t.timestamp() * 1000), {"time_unit": "auto"}),
    "ISO": (lambda t: t.isoformat(), {"time_unit": "date"}),
    "ISO, without unit": (lambda t: t.isoformat(), {}),
    "ISO of another zone": (lambda t: t.astimezone(timezone(timedelta(hours=-7))).isoformat(), {}),
    "time format": (lambda t: f"{t:%d.%m.%Y %H:%M:%S.%f}", {"time_format": "%d.%m.%Y %H:%M:%S.%f"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_events_less_than_a_second_apart_keep_their_order(tmp_path: Path, name: str) -> None:
    write, options = FORMATS[name]
    start = datetime(2017, 7, 14, 2, 40, tzinfo=UTC)
    rows = [(f"u{u}", f"i{i}", write(start + STEP * (8 * u + i))) for u in range(5) for i in range(8)]
    write_events(tmp_path, rows[::-1])  # the newest first
    domain, preparation = prepared(tmp_path, **options)
    assert in_order(domain) == [[f"i{i}" for i in range(8)]] * 5
    assert (preparation.duplicates, preparation.dropped) == (0, {})
    assert domain.interactions.timestamps[1] - domain.interactions.timestamps[0] == 90_000_000
    assert bool(preparation.noted) == (name == "inferred from size")


def test_rows_less_than_a_second_apart_are_not_duplicates(tmp_path: Path) -> None:
    write_events(tmp_path, [("u", "i0", 1500000000000), ("u", "i0", 1500000000050), ("u", "i0", 1500000000050)])
    domain, preparation = prepared(tmp_path, time_unit="ms")
    assert (len(domain.interactions.items), preparation.duplicates) == (2, 1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "date", "auto"])
@pytest.mark.parametrize("kind", ["s", "ms", "us", "ns", "ms, UTC", "us, Europe/Berlin", "date"])
def test_parquet_timestamps_ignore_the_unit(tmp_path: Path, unit: str, kind: str) -> None:
    days = [datetime(2017, 7, 14 + i) for i in range(8)]
    if kind == "date":
        times = pa.array([date(t.year, t.month, t.day) for t in days], pa.date32())
    else:
        times = pa.array(days, pa.timestamp(*kind.split(", ")[:1], tz=kind.partition(", ")[2] or None))
    columns = {"user_id": ["u"] * 8, "item_id": [f"i{7 - i}" for i in range(8)], "timestamp": times}
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    domain, preparation = prepared(tmp_path, interactions="events.parquet", time_unit=unit)
    assert in_order(domain) == [[f"i{7 - i}" for i in range(8)]]
    assert domain.interactions.timestamps[0] == 1_499_990_400_000_000_000
    assert not preparation.dropped


@pytest.mark.parametrize(
    ("written_in", "read_as", "message"),
    [
        ("s", "ms", "January 1970; read as s, they are between 1980 and today. Set time_unit: s"),
        ("s", "us", "January 1970.*Set time_unit: s"),
        ("s", "ns", "January 1970.*Set time_unit: s"),
        ("ms", "us", "January 1970.*Set time_unit: ms"),
        ("us", "ns", "January 1970.*Set time_unit: us"),
        ("ms", "s", "the future; read as ms, they are between 1980 and today. Set time_unit: ms"),
        ("us", "s", "the future.*Set time_unit: us"),
        ("ns", "ms", "the future.*Set time_unit: ns"),
    ],
)
@pytest.mark.parametrize("as_parquet", [False, True])
def test_a_wrong_unit_raises_and_the_right_one_is_named(tmp_path, written_in, read_as, message, as_parquet) -> None:
    second = 10**9 // NANOSECONDS[written_in]
    rows = [(f"u{u}", f"i{i}", (1_500_000_000 + 60 * u + i) * second) for u in range(5) for i in range(8)]
    write_events(tmp_path, [*rows, ("u0", "i0", "never"), ("u0", "i0", 1_000_000)])
    options: dict[str, object] = {"time_unit": read_as}
    if as_parquet:
        frame = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
        frame.to_parquet(tmp_path / "events.parquet")
        options["interactions"] = "events.parquet"
    with pytest.raises(HarnessError, match=f"events.*read as {read_as}, 40 of {40 if as_parquet else 42} .*{message}"):
        prepared(tmp_path, **options)


def test_small_numbers_that_fit_no_unit_are_accepted(tmp_path: Path) -> None:
    write_events(tmp_path, [("u", f"i{i}", i) for i in range(8)])
    for unit in ("s", "ms"):
        assert in_order(prepared(tmp_path, time_unit=unit)[0]) == [[f"i{i}" for i in range(8)]]


def test_a_few_times_in_another_unit_are_dropped_with_its_name(tmp_path: Path) -> None:
    rows = [("u", f"i{i}", 1_500_000_000 + i) for i in range(7)]
    write_events(tmp_path, [*rows, ("u", "i7", 1_500_000_000_000)])
    assert list(prepared(tmp_path)[1].dropped) == ["a timestamp in the future (not if it is in ms)"]


def test_order_row(tmp_path: Path) -> None:
    rows = [("b", "i3"), ("a", "i1"), ("b", "i3"), ("a", "i0"), ("b", "i2"), ("", "i4")]
    (tmp_path / "events.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i in rows))
    domain, preparation = prepared(tmp_path, order="row")
    assert not domain.timed
    assert in_order(domain) == [["i1", "i0"], ["i3", "i3", "i2"]]
    assert domain.interactions.timestamps.tolist() == [0, 1, 0, 1, 2]
    assert (preparation.duplicates, [count for count, _ in preparation.dropped.values()]) == (0, [1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "row", "time_unit": "ms"}, "order: row reads no times, but time_unit is given"),
        ({"order": "row", "time_format": "%Y"}, "order: row reads no times, but time_format is given"),
        ({"order": "row", "columns": {"timestamp": "t"}}, "order: row reads no times, but columns.timestamp"),
        ({"order": "line"}, "order"),
        ({"time_format": "%d.%m.%Y", "time_unit": "ms"}, "contradict each other"),
        ({"time_format": "%Q"}, "time_format"),
        ({"time_unit": "minutes"}, "time_unit"),
    ],
)
def test_contradictory_options_raise(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        prepared(tmp_path, **options)


def test_records_in_milliseconds_keep_their_order(tmp_path: Path) -> None:
    times = [1_500_000_000_250, 1_500_000_000_000]
    lines = [json.dumps({"user_id": "u", "parent_asin": f"i{i}", "timestamp": t}) for i, t in enumerate(times)]
    (tmp_path / "r.jsonl").write_text("\n".join(lines))
    (tmp_path / "m.jsonl").write_text(
        "".join(json.dumps({"parent_asin": f"i{i}", "title": "x"}) + "\n" for i in (0, 1))
    )
    store = Store(tmp_path / "domains")
    source = make_source({"source": "amazon-2023", "reviews": "r.jsonl", "meta": "m.jsonl"})
    domain = load_domain(store, prepare_domain(store, source, "toy", 1, tmp_path).preparation.fingerprint, "toy")
    assert domain.interactions.timestamps.tolist() == [1_500_000_000_000_000_000, 1_500_000_000_250_000_000]
