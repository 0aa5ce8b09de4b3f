"""Fuzzed files of every source are read with all rows accounted for, or raise HarnessError; no hang."""

import bz2
import gzip
import io
import json
import lzma
import random
import re
import signal
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.readers import Reader, TextFormat, read_text
from harness.data.records import Findings
from harness.data.sources import make_source
from harness.errors import HarnessError

#: Time limit of an input: a hundred times more than any should take.
SECONDS = 20
NASTY = [
    b'"', b'""', b",", b"\t", b"::", b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\n", b"\0", b"\xff", b"\\ud800",
    b"9" * 400, b"1e999", b"-1", b"NaN", b"null", b"[" * 2000, b'{"a":' * 1200, b"'", b"\\", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"\x1f", b"\x1a", b"(" * 300, b"-" * 5000, b"0x", b"{}", b"[]", b"true", " ".encode("utf-16"), "é".encode(),
]  # fmt: skip


def events(rng: random.Random) -> list[tuple[str, str, int]]:
    return [
        (f"u{rng.randrange(9)}", f"i{rng.randrange(9)}", 1_500_000_000 + index) for index in range(rng.randrange(1, 40))
    ]


def titles(rng: random.Random) -> list[tuple[str, str]]:
    kinds = ["Kettle {}", "Lamp, red {}", 'The "big" {}', "Größe {}", "two\nlines {}", ""]
    return [(f"i{index}", rng.choice(kinds).format(index)) for index in range(9)]


def delimited(rows: list[tuple], head: str, by: str, quote: bool) -> bytes:
    def cell(value: object) -> str:
        text = str(value)
        return '"' + text.replace('"', '""') + '"' if quote else text.replace("\n", " ").replace(by, " ")

    return "".join(line + "\n" for line in [head, *(by.join(map(cell, row)) for row in rows)] if line).encode()


def parquet(rows: list[tuple], names: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}), buffer
    )
    return buffer.getvalue()


def lines(records: list[dict], write: Callable[[dict], str]) -> bytes:
    return "".join(write(record) + "\n" for record in records).encode()


def valid(rng: random.Random) -> tuple[dict, dict[str, bytes]]:
    """The options of a source, and valid files for it."""
    rows, items = events(rng), titles(rng)
    kind = rng.choice(["csv", "tsv", "parquet", "atomic", "json", "literal", "steam", "sequences", "dat"])
    quote = rng.random() < 0.5
    if kind in ("csv", "tsv"):
        by = "," if kind == "csv" else "\t"
        return {"source": "table", "interactions": f"e.{kind}", "items": f"i.{kind}"}, {
            f"e.{kind}": delimited(rows, by.join(("user_id", "item_id", "timestamp")), by, quote),
            f"i.{kind}": delimited(items, by.join(("item_id", "title")), by, quote),
        }
    if kind == "parquet":
        return {"source": "table", "interactions": "e.parquet", "items": "i.parquet"}, {
            "e.parquet": parquet(rows, ["user_id", "item_id", "timestamp"]),
            "i.parquet": parquet([(i, [t, None]) for i, t in items], ["item_id", "title"]),
        }
    if kind == "atomic":
        return {"source": "recbole-atomic", "folder": ".", "stem": "s", "clean_html": quote}, {
            "s.inter": delimited(rows, "user_id:token\titem_id:token\ttimestamp:float", "\t", False),
            "s.item": delimited(items, "item_id:token\ttitle:token_seq", "\t", False),
        }
    if kind == "dat":
        return {"source": "movielens-1m", "folder": "."}, {
            "ratings.dat": delimited([(u, i, 5, t) for u, i, t in rows], "", "::", False),
            "movies.dat": delimited([(i, t, "Drama|War") for i, t in items], "", "::", False),
        }
    if kind == "sequences":
        return {"source": "sequence-json", "folder": "."}, {
            "train.json": json.dumps({str(u): [0, 1, 2 + u] for u in range(5)}).encode(),
            "val.json": json.dumps({str(u): [1] for u in range(5)}).encode(),
            "test.json": json.dumps({str(u): [2] if u else [] for u in range(5)}).encode(),
            "umap.json": json.dumps({f"user{u}": u for u in range(5)}).encode(),
            "smap.json": json.dumps({f"i{i}": i for i in range(9)}).encode(),
            "meta_data.json": json.dumps({i: {"title": t} for i, t in items}).encode(),
        }
    write = repr if kind in ("literal", "steam") else json.dumps
    if kind == "steam":
        return {"source": "steam", "reviews": "r.json", "meta": "m.json"}, {
            "r.json": lines([{"username": u, "product_id": i, "date": "2017-03-01"} for u, i, _ in rows], write),
            "m.json": lines([{"id": i, "app_name": t} for i, t in items], write),
        }
    source = {"json": "amazon-2018", "literal": "amazon-2014"}[kind]
    return {"source": source, "reviews": "r.json", "meta": "m.json"}, {
        "r.json": lines([{"reviewerID": u, "asin": i, "unixReviewTime": t} for u, i, t in rows], json.dumps),
        "m.json": lines([{"asin": i, "title": [t, [None, 1.5, True]]} for i, t in items], write),
    }


def mutated(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data = data[:at]
            case 1 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + rng.randrange(1, 30) :]
            case 3:
                data = data[:at] + data[at : at + 40] + data[at:]
            case _:
                data = data[:at] + rng.choice(NASTY) + data[at:]
    return data


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("only", data)
    return buffer.getvalue()


COMPRESS = [gzip.compress, bz2.compress, lzma.compress, zipped, lambda data: pa.compress(data, "zstd", asbytes=True)]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"not finished after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def counted(findings: Findings) -> int:
    empty = sum(finding.count for reason, finding in findings.noted.items() if reason.startswith("lines with nothing"))
    return empty + sum(finding.count for finding in findings.dropped.values())


def physical_lines(data: bytes) -> list[bytes]:
    """The lines of a text; carriage returns end lines only in texts without line feeds."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    split = text.split(b"\n")
    return split[:-1] if not split[-1] else split


def read_all(options: dict, folder: Path) -> tuple[int, Findings]:
    raw = make_source(options).open("toy", folder)
    tables = list(raw.interactions)
    rows, counts = sum(map(len, tables)), deepcopy(raw.findings)  # before the items are read
    ids = frozenset(item for table in tables for item in table["item_id"].to_pylist())
    for table in raw.items(ids):
        table["text"].to_pylist()
    return rows, counts


def try_one(seed: int, folder: Path) -> str:
    """Try one input: `read` or `refused`."""
    rng = random.Random(seed)
    options, files = valid(rng)
    damaged = rng.sample(sorted(files), rng.choice([1, 1, 2]))
    inner = {name: mutated(data, rng) if name in damaged else data for name, data in files.items()}
    for name, data in inner.items():
        packed = rng.choice(COMPRESS)(data) if rng.random() < 0.2 and not name.endswith("parquet") else data
        (folder / name).write_bytes(mutated(packed, rng) if packed is not data and rng.random() < 0.3 else packed)
        if packed is not data:
            inner[name] = b""  # its lines are not compared
    try:
        with at_most(SECONDS):
            rows, findings = read_all(options, folder)
    except HarnessError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    name = next(iter(files))
    data = inner[name]
    if data and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"PAR1", b"BZh")):
        text = physical_lines(data)
        if options["source"] in ("amazon-2014", "amazon-2018", "steam"):
            assert rows + counted(findings) == sum(1 for line in text if line.strip()), seed
        elif b'"' not in data and options["source"] != "sequence-json":
            head = 0 if options["source"] == "movielens-1m" else 1 + next(i for i, t in enumerate(text) if t.strip())
            assert rows + counted(findings) == len(text) - head, seed
    return "read"


def try_quotes(seed: int, folder: Path) -> str:
    """Text with random double quotes: each line is a row, dropped, or inside a quoted field."""
    rng = random.Random(seed)
    by = rng.choice(",\t;|")
    data = b"a" + by.encode() + b"b\n" + bytes(rng.choices(f'x"{by}\n'.encode(), [6, 3, 3, 2], k=rng.randrange(200)))
    (folder / "t").write_bytes(data)
    findings = Findings()
    with at_most(SECONDS):
        chunks = list(read_text(folder / "t", ("a", "b"), TextFormat(by), Reader(findings)))
    rows = [row for chunk in chunks for row in chunk.table.to_pylist()]
    inside = sum(value.count("\n") for row in rows for value in row.values())
    assert len(rows) + counted(findings) + inside == len(physical_lines(data)) - 1, seed
    quotes = sum(value.count('"') for row in rows for value in row.values())
    if quotes:
        assert any("double quote" in oddity for oddity in findings.noted) or b'""' in data, seed
    return "read"


def fuzz(seeds: range) -> dict[str, int]:
    outcomes = Counter({"read": 0, "refused": 0})
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[try_quotes(seed, Path(folder)) if seed % 5 == 0 else try_one(seed, Path(folder))] += 1
    return outcomes


def test_fuzzed_files() -> None:
    outcomes = fuzz(range(300))
    assert set(outcomes) == {"read", "refused"}, outcomes
    assert min(outcomes.values()) > 50, outcomes


@pytest.mark.slow
def test_ten_thousand_fuzzed_files() -> None:
    outcomes = fuzz(range(1_000, 11_000))
    assert set(outcomes) == {"read", "refused"}, outcomes
    assert min(outcomes.values()) > 1_000, outcomes


def test_physical_lines() -> None:
    assert physical_lines(b"a\r\nb\r\r\n\nc") == [b"a\r", b"b\r\r", b"", b"c"]
    assert [re.sub(rb"\s", b"", line) for line in physical_lines(b"a\rb\r")] == [b"a", b"b"]
