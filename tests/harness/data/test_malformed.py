# ruff: noqa: E501 - a line a case
"""Two hundred malformed files: each loads with every dropped row counted, or raises a one-line error."""

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.domain_store import prepare_domain
from harness.data.prepare import Preparation
from harness.data.sources import make_source
from harness.errors import HarnessError
from harness.storage.store import Store

Row = tuple[str, str, int]
ITEMS = [f"item{i}" for i in range(6)]


def good_rows(rng: random.Random) -> list[Row]:
    return [(f"user{rng.randrange(9)}", rng.choice(ITEMS), 1_500_000_000 + i) for i in range(rng.randrange(20, 60))]


# Name, replacement of a line given its user, item and time, and whether the row must then be dropped.
Damage = tuple[str, Callable[[str, str, str], bytes], bool]


def csv_line(user: str, item: str, time: str) -> bytes:
    return f"{user},{item},{time}".encode()


def json_line(user: object, item: object, time: object) -> bytes:
    return json.dumps({"reviewerID": user, "asin": item, "unixReviewTime": time}).encode()


CSV_DAMAGE: list[Damage] = [
    ("too few fields", lambda u, i, t: f"{u},{i}".encode(), True),
    ("too many fields", lambda u, i, t: f"{u},{i},{t},5".encode(), True),
    ("not a time", lambda u, i, t: f"{u},{i},yesterday".encode(), True),
    ("NaN", lambda u, i, t: f"{u},{i},NaN".encode(), True),
    ("infinity", lambda u, i, t: f"{u},{i},inf".encode(), True),
    ("minus infinity", lambda u, i, t: f"{u},{i},-inf".encode(), True),
    ("no time", lambda u, i, t: f"{u},{i},".encode(), True),
    ("negative", lambda u, i, t: f"{u},{i},-5".encode(), True),
    ("future", lambda u, i, t: f"{u},{i},99999999999".encode(), True),
    ("huge", lambda u, i, t: f"{u},{i},{'9' * 400}".encode(), True),
    ("no user", lambda u, i, t: f",{i},{t}".encode(), True),
    ("no item", lambda u, i, t: f"{u},,{t}".encode(), True),
    ("blank user", lambda u, i, t: f"   ,{i},{t}".encode(), True),
    ("an empty line", lambda u, i, t: b"", True),
    ("latin-1", lambda u, i, t: f"{u}é,{i},{t}".encode("latin-1"), True),
    ("random bytes", lambda u, i, t: b"\xff\xfe\x80," + i.encode() + b"," + t.encode(), True),
    ("a float", lambda u, i, t: f"{u},{i},{t}.75".encode(), False),
    ("exponent", lambda u, i, t: f"{u},{i},1.5e9".encode(), False),
    ("quotes", lambda u, i, t: f'"{u}","{i}","{t}"'.encode(), False),
    ("a NUL", lambda u, i, t: f"{u}\0,{i},{t}".encode(), False),
    ("another script", lambda u, i, t: f"用户😀,{i},{t}".encode(), False),
    ("a 10 MB line", lambda u, i, t: f"{u}{'x' * 10_000_000},{i},{t}".encode(), False),
]
JSON_DAMAGE: list[Damage] = [
    ("cut short", lambda u, i, t: json_line(u, i, t)[:-9], True),
    ("not JSON", lambda u, i, t: b"reviewerID: " + u.encode(), True),
    ("a list", lambda u, i, t: b"[1, 2]", True),
    ("a number", lambda u, i, t: b"17", True),
    ("NaN", lambda u, i, t: b'{"reviewerID": "a", "asin": "item1", "unixReviewTime": NaN}', True),
    ("no time", lambda u, i, t: json.dumps({"reviewerID": u, "asin": i}).encode(), True),
    ("null user", lambda u, i, t: json_line(None, i, int(t)), True),
    ("a dict for an item", lambda u, i, t: json_line(u, {"$oid": i}, int(t)), True),
    ("text for a time", lambda u, i, t: json_line(u, i, "yesterday"), True),
    ("true for a time", lambda u, i, t: json_line(u, i, True), True),
    ("negative", lambda u, i, t: json_line(u, i, -1), True),
    ("milliseconds", lambda u, i, t: json_line(u, i, int(t) * 1000), True),
    ("bad escape", lambda u, i, t: b'{"reviewerID": "\\ud800", "asin": "item1", "unixReviewTime": 1500000000}', True),
    ("bad bytes", lambda u, i, t: b'{"reviewerID": "\xff", "asin": "item1", "unixReviewTime": 1500000000}', True),
    ("deep nesting", lambda u, i, t: b'{"a":' * 3000 + b"1" + b"}" * 3000, True),
    ("time as text", lambda u, i, t: json_line(u, i, t), False),
    ("a number for a user", lambda u, i, t: json_line(17, i, int(t)), False),
    ("a 10 MB line", lambda u, i, t: json_line(u + "x" * 10_000_000, i, int(t)), False),
]
TABLE = {"source": "table", "interactions": "events.csv", "items": "items.csv"}
AMAZON = {"source": "amazon-2018", "reviews": "reviews.json", "meta": "meta.json"}


def write_items(folder: Path) -> None:
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"{i},title of {i}\n" for i in ITEMS))
    (folder / "meta.json").write_text("".join(json.dumps({"asin": i, "title": f"title of {i}"}) + "\n" for i in ITEMS))


def attempt(options: dict, folder: Path, k_core: int = 1) -> Preparation | str:
    """The preparation, or the error message."""
    try:
        return prepare_domain(Store(folder / "domains"), make_source(options), "toy", k_core, folder).preparation
    except HarnessError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 900
        return line


def n_lost(preparation: Preparation) -> int:
    return sum(count for count, _ in accounts(preparation))


def accounts(preparation: Preparation) -> list[tuple[int, str]]:
    """Number and first of the unused rows, by reason."""
    empty = [account for oddity, account in preparation.noted.items() if oddity.startswith("lines with nothing")]
    return [*preparation.dropped.values(), *empty]


@pytest.mark.parametrize("seed", range(150))
def test_damaged_rows_are_used_or_counted(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    write_items(tmp_path)
    rows = good_rows(rng)
    as_json = seed % 2 == 1
    name, options = ("reviews.json", AMAZON) if as_json else ("events.csv", TABLE)
    lines = [json_line(u, i, t) if as_json else csv_line(u, i, str(t)) for u, i, t in rows]
    damages = JSON_DAMAGE if as_json else CSV_DAMAGE
    kind, damage, must_lose = damages[(seed // 2) % len(damages)]
    damaged = sorted(rng.sample(range(len(rows)), rng.randrange(1, 2 if kind == "a 10 MB line" else 8)))
    for index in damaged:
        user, item, time = rows[index]
        lines[index] = damage(user, item, str(time))
    data = b"\n".join(([] if as_json else [b"user_id,item_id,timestamp"]) + lines) + b"\n" * rng.randrange(2)
    zipped = rng.random() < 0.3
    (tmp_path / name).write_bytes(gzip.compress(data) if zipped else data)

    preparation = attempt(options, tmp_path)
    assert isinstance(preparation, Preparation), preparation
    assert preparation.read + n_lost(preparation) == len(rows)
    if must_lose:
        assert n_lost(preparation) == len(damaged), kind
        row = damaged[0] + (1 if as_json else 2)
        assert all(f"{tmp_path / name} row {row}" in first for _, first in accounts(preparation))
    else:
        assert n_lost(preparation) == 0, kind
    assert preparation.read - preparation.duplicates == preparation.interactions


def table(folder: Path, events: bytes, items: bytes = b"item_id,title\na,A\n") -> dict:
    (folder / "events.csv").write_bytes(events)
    (folder / "items.csv").write_bytes(items)
    return TABLE


def parquet(folder: Path, **columns: list) -> dict:
    pq.write_table(pa.table(columns), folder / "events.parquet")
    write_items(folder)
    return {**TABLE, "interactions": "events.parquet"}


def sequences(folder: Path, **changes: object) -> dict:
    files: dict[str, object] = {
        "train": {"0": [0, 1], "1": [1, 2]},
        "val": {"0": [2], "1": [0]},
        "test": {"0": [1], "1": [1]},
        "umap": {"ann": 0, "bob": 1},
        "smap": {"a": 0, "b": 1, "c": 2},
        "meta_data": {i: {"title": i.upper()} for i in "abc"},
    }
    for name, content in (files | changes).items():
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{name}.json").write_bytes(text)
    return {"source": "sequence-json", "folder": "."}


HEAD = b"user_id,item_id,timestamp\n"
WHOLE: list[tuple[str, Callable[[Path], dict], str]] = [
    ("an empty file", lambda f: table(f, b""), r"events.csv is empty"),
    ("only white space", lambda f: table(f, b"\n\n"), r"events.csv is empty"),
    ("only a header", lambda f: table(f, HEAD), "no interaction is left"),
    ("no such column", lambda f: table(f, b"user_id,item,timestamp\na,a,1\n"), "events.csv.*Did you mean 'item'"),
    ("no header", lambda f: table(f, b"a,a,1\nb,a,2\n"), "events.csv.*'user_id'"),
    ("a column twice", lambda f: table(f, b"user_id,item_id,user_id,timestamp\na,a,b,1\n"), "row 1: two columns"),
    ("tabs for commas", lambda f: table(f, b"user_id\titem_id\ttimestamp\na\ta\t1\n"), "events.csv.*'user_id'"),
    ("the wrong unit", lambda f: table(f, HEAD + b"a,a,1500000000000\nb,a,1500000000000\n"), "events.csv: read as s, 2 of 2.*Set time_unit: ms"),
    ("mostly rubbish", lambda f: table(f, HEAD + b"a,a,1\nx\ny\nz\n"), "3 of 4 rows are unusable.*row 3"),
    ("one-interaction users", lambda f: table(f, HEAD + b"a,a,1\nb,a,2\nc,a,3\n"), ""),
    ("items without text", lambda f: table(f, HEAD + b"a,a,1\na,b,2\n"), ""),
    ("no item has a text", lambda f: table(f, HEAD + b"a,x,1\n"), "none of its 1 items is in the items file, the first is 'x'"),
    ("duplicate items", lambda f: table(f, HEAD + b"a,a,1\n", b"item_id,title\na,A\na,B\n"), ""),
    ("items file empty", lambda f: table(f, HEAD + b"a,a,1\n", b""), "items.csv is empty"),
    ("items file without title", lambda f: table(f, HEAD + b"a,a,1\n", b"item_id,name\na,A\n"), "items.csv.*'title'"),
    ("items file is UTF-16", lambda f: table(f, HEAD + b"a,a,1\n", "item_id,title\na,A\n".encode("utf-16-le")), "items.csv row 1.*UTF-16"),
    ("events are UTF-16", lambda f: table(f, "user_id,item_id,timestamp\na,a,1\n".encode("utf-16-be")), "events.csv row 1.*UTF-16"),
    ("an open quote", lambda f: table(f, HEAD + b'a,a,1\nb,"a,2\nc,a,3\n'), "row|counted"),
    ("a carriage return for a newline", lambda f: table(f, b"user_id,item_id,timestamp\ra,a,1\r\rb,a,2\r"), ""),
    ("a directory", lambda f: (table(f, HEAD), (f / "events.csv").unlink(), (f / "events.csv").mkdir(), TABLE)[-1], "events.csv"),
    ("a missing file", lambda f: {**table(f, HEAD), "interactions": "none.csv"}, "No file .*none.csv"),
    ("a picture", lambda f: table(f, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40), "events.csv"),
    ("not gz", lambda f: renamed(f, HEAD + b"a,a,1\n"), "events.csv.gz is not gzip"),
    ("gz truncated", lambda f: renamed(f, gzip.compress(HEAD + b"a,a,1\n" * 9999)[:-100]), "events.csv.gz is truncated"),
    ("gz without its end", lambda f: renamed(f, gzip.compress(HEAD + b"a,a,1\n" * 99)[:-6]), "events.csv.gz is truncated"),
    ("gz with a wrong byte", lambda f: renamed(f, broken(gzip.compress(HEAD + b"a,a,1\n" * 9999))), "events.csv.gz"),
    ("gz with rubbish after", lambda f: renamed(f, gzip.compress(HEAD + b"a,a,1\n") + b"rubbish"), "events.csv.gz"),
    ("gz of nothing", lambda f: renamed(f, gzip.compress(b"")), "events.csv.gz is empty"),
    ("a line of 40 MB", lambda f: table(f, HEAD + b"a,a,1\n" + b"a" * 70_000_000 + b",a,1\nb,a,2\n"), "longer than 32 MB"),
    ("not parquet", lambda f: {**table(f, b"PAR1"), "interactions": plain(f, "e.parquet", b"PAR1")}, "e.parquet"),
    ("parquet with null ids", lambda f: parquet(f, user_id=["a", None, "b"], item_id=["item1"] * 3, timestamp=[1, 2, 3]), ""),
    ("parquet with no column", lambda f: parquet(f, user=["a"], item_id=["item1"], timestamp=[1]), "Did you mean 'user'"),
    ("parquet with float times", lambda f: parquet(f, user_id=["a", "b", "c"], item_id=["item1"] * 3, timestamp=[1.5, float("nan"), 2.0]), ""),
    ("JSON lines empty", lambda f: amazon(f, b""), "reviews.json is empty"),
    ("JSON lines of another file", lambda f: amazon(f, b'{"user": 1}\n{"user": 2}\n'), "reviews.json"),
    ("JSON array", lambda f: amazon(f, b'[{"reviewerID": "a"}]'), "reviews.json.*row 1|no interaction"),
    ("meta of another file", lambda f: amazon(f, json_line("a", "item1", 5), b'{"id": "item1"}\n'), "meta.json|is in the items file"),
    ("sequences: bad JSON", lambda f: sequences(f, train=b'{"0": [1,'), "train.json line 1"),
    ("sequences: a list", lambda f: sequences(f, train=[1, 2]), "train.json is not a JSON object"),
    ("sequences: unknown item", lambda f: sequences(f, train={"0": [0, 9], "1": [1]}), "train.json entry 1: item 9"),
    ("sequences: unknown user", lambda f: sequences(f, train={"7": [0], "1": [1]}), "train.json entry 1: user '7'"),
    ("sequences: two in val", lambda f: sequences(f, val={"0": [2, 1], "1": [0]}), "val.json: user 0 has 2 events, not one"),
    ("sequences: none in test", lambda f: sequences(f, test={"0": [], "1": [0]}), ""),
    ("sequences: nothing to train on", lambda f: sequences(f, train={"0": [], "1": [0]}), "train.json: user 0"),
    ("sequences: a user short", lambda f: sequences(f, test={"0": [1]}), ""),
    ("sequences: text for an item", lambda f: sequences(f, train={"0": ["a"], "1": [1]}), "item 'a'"),
    ("sequences: one index twice", lambda f: sequences(f, umap={"ann": 0, "bob": 0}), "share the index 0"),
    ("sequences: no such field", lambda f: {**sequences(f), "text": ["titel"]}, "Did you mean 'title'"),
    ("sequences: a file gone", lambda f: gone(sequences(f), f / "val.json"), "No file .*val.json"),
    ("sequences: meta of nobody", lambda f: sequences(f, meta_data={}), "none of its 3 items is in the items file"),
]  # fmt: skip


def renamed(folder: Path, data: bytes) -> dict:
    table(folder, b"")
    (folder / "events.csv").unlink()
    (folder / "events.csv.gz").write_bytes(data)
    return {**TABLE, "interactions": "events.csv.gz"}


def broken(data: bytes) -> bytes:
    return data[:60] + bytes([data[60] ^ 0xFF]) + data[61:]


def plain(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


def amazon(folder: Path, reviews: bytes, meta: bytes | None = None) -> dict:
    write_items(folder)
    (folder / "reviews.json").write_bytes(reviews)
    if meta is not None:
        (folder / "meta.json").write_bytes(meta)
    return AMAZON


def gone(options: dict, path: Path) -> dict:
    path.unlink()
    return options


def test_there_are_two_hundred() -> None:
    assert 150 + len(WHOLE) == 200


@pytest.mark.parametrize(("kind", "make", "message"), WHOLE, ids=[kind for kind, _, _ in WHOLE])
def test_damaged_files_raise_or_load_with_findings(
    tmp_path: Path, kind: str, make: Callable[[Path], dict], message: str
) -> None:
    preparation = attempt(make(tmp_path), tmp_path)
    if isinstance(preparation, str):
        assert message
        assert re.search(message, preparation), preparation
    else:
        assert not message or re.search("counted|read", message), (kind, preparation)
        assert preparation.dropped or preparation.noted or kind == "one-interaction users", preparation
    # No unfinished folder is left in the store.
    assert not list((tmp_path / "domains").glob(".*")) if (tmp_path / "domains").exists() else True
