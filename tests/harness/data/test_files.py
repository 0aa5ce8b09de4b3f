"""Reading of raw files: quotes, line ends, encodings, compression, ids, ratings, split sequences."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.domain import Domain
from harness.data.domain_store import load_domain, prepare_domain
from harness.data.prepare import prepare, prepare_into
from harness.data.quoting import QuoteScanner
from harness.data.readers import Reader, TextFormat, read_text
from harness.data.records import Findings
from harness.data.sources import make_source
from harness.data.streams import check_encoding, text_blocks
from harness.data.text import text_of
from harness.errors import HarnessError
from harness.protocol.split import LeaveOneOut, SelectedOnTest
from harness.storage.store import Store

Rows = list[tuple[str | None, ...]]


def read(
    folder: Path, data: bytes, name: str = "t.csv", names: tuple[str, ...] = ("a", "b"), **form
) -> tuple[Rows, dict]:
    """The rows of a file, and the counts of findings."""
    (folder / name).write_bytes(data)
    findings = Findings()
    chunks = list(read_text(folder / name, names, TextFormat(**form), Reader(findings)))
    rows = [tuple(row.values()) for chunk in chunks for row in chunk.table.to_pylist()]
    return rows, {reason: f.count for reason, f in (findings.dropped | findings.noted).items()}


LITERAL = "rows with double quotes, kept as text: the file does not quote fields"
STRAY = "rows with a stray double quote, kept as text"
EMPTY = "lines with nothing in them, skipped"
FIELDS = "wrong number of fields"
BYTES = "bytes that are not text in the file's encoding"

# ruff: noqa: E501 - a line a case
# Name, text after the header line `a,b`, expected rows, expected findings.
TEXTS: list[tuple[str, bytes, Rows, dict]] = [
    ("no quotes", b"1,x\n2,y\n", [("1", "x"), ("2", "y")], {}),
    ("quoted fields", b'"1","x"\n"2","y"\n', [("1", "x"), ("2", "y")], {}),
    ("a delimiter in quotes", b'1,"x, y"\n2,z\n', [("1", "x, y"), ("2", "z")], {}),
    ("doubled quotes", b'1,"12"" single"\n2,z\n', [("1", '12" single'), ("2", "z")], {}),
    ("a line end in quotes", b'1,"x\ny"\n2,z\n', [("1", "x\ny"), ("2", "z")], {}),
    ("empty lines in quotes", b'1,"x\n\n\ny"\n2,z\n', [("1", "x\n\n\ny"), ("2", "z")], {}),
    ("empty and quoted", b'1,""\n"",z\n', [("1", ""), ("", "z")], {}),
    ("a quote opens and none closes", b'1,"x\n2,y\n3,z\n', [("1", '"x'), ("2", "y"), ("3", "z")], {LITERAL: 1}),
    ("a quote inside", b'1,x" y\n2,12"\n', [("1", 'x" y'), ("2", '12"')], {LITERAL: 2}),
    ("one opens, another closes", b'1,"x\n2,y\n3,z"\n', [("1", '"x'), ("2", "y"), ("3", 'z"')], {LITERAL: 2}),
    ("an id opens, another closes", b'"1,x\n2,y\n3",z\n', [('"1', "x"), ("2", "y"), ('3"', "z")], {LITERAL: 2}),
    ("quotes about a word", b'1,"x"\n2,"y" z\n', [("1", '"x"'), ("2", '"y" z')], {LITERAL: 2}),
    ("one stray quote in a quoted file", b'1,"x, y"\n2,"z\n3,"u, v"\n', [("1", "x, y"), ("2", '"z'), ("3", "u, v")], {STRAY: 1}),
    ("one quote inside a quoted file", b'1,"x, y"\n2,12" z\n', [("1", "x, y"), ("2", '12" z')], {STRAY: 1}),
    ("text after the closing quote", b'1,"x, y"\n2,"u" v\n', [("1", "x, y"), ("2", '"u" v')], {STRAY: 1}),
    ("a quote in the last line", b'1,x\n2,"y', [("1", "x"), ("2", '"y')], {LITERAL: 1}),
    ("a lone quote", b'1,"\n2,y\n', [("1", '"'), ("2", "y")], {LITERAL: 1}),
    ("empty lines", b"\n1,x\n\n\n2,y\n\n", [("1", "x"), ("2", "y")], {EMPTY: 4}),
    ("lines of blanks and of delimiters", b"1,x\n  \n,\n2,y\n", [("1", "x"), ("2", "y")], {EMPTY: 2}),
    ("\\r\\n", b"1,x\r\n2,y\r\n", [("1", "x"), ("2", "y")], {}),
    ("\\r\\r\\n", b"1,x\r\r\n2,y\r\r\n", [("1", "x"), ("2", "y")], {}),
    ("\\n\\r", b"1,x\n\r2,y\n\r", [("1", "x"), ("2", "y")], {}),
    ("a lone \\r in a title", b"1,x\ry\n2,z\n", [("1", "x y"), ("2", "z")], {}),
    ("no end of the last line", b"1,x\n2,y", [("1", "x"), ("2", "y")], {}),
    ("too few and too many fields", b"1\n1,2,3\n2,y\n", [("2", "y")], {FIELDS: 2}),
    ("bad bytes", b"1,\xff\n2,y\n", [("2", "y")], {BYTES: 1}),
    ("bad bytes and too many fields", b"1,\xff,3\n2,y\n", [("2", "y")], {FIELDS: 1}),
    ("a NUL", b"1,x\0y\n", [("1", "x\0y")], {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "rows", "findings"), TEXTS, ids=[kind for kind, *_ in TEXTS])
@pytest.mark.parametrize("delimiter", [",", "\t", "::"])
def test_read_delimited_text(
    tmp_path: Path, kind: str, text: bytes, rows: Rows, findings: dict, delimiter: str
) -> None:
    def with_delimiter(cell: str | None) -> str | None:
        return cell and cell.replace(",", delimiter)

    data = b"a,b\n" + text
    expected = [tuple(map(with_delimiter, row)) for row in rows]
    assert read(tmp_path, data.replace(b",", delimiter.encode()), delimiter=delimiter) == (expected, findings)


def test_line_ends_may_be_carriage_returns(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b\r1,x\r\r2,y\r") == ([("1", "x"), ("2", "y")], {EMPTY: 1})


def test_a_quoted_header_means_quoted_fields(tmp_path: Path) -> None:
    rows, lines = read(tmp_path, b'"a","b"\n"1","x"\n"2",12" y\n')
    assert (rows, lines) == ([("1", "x"), ("2", '12" y')], {STRAY: 1})


def test_quoting_can_be_switched_off(tmp_path: Path) -> None:
    assert read(tmp_path, b'a,b\n"1","x"\n', quoted=False) == ([('"1"', '"x"')], {})


cells = st.text(st.sampled_from('x"\n, é'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8), st.booleans())
def test_quoted_fields_round_trip(tmp_path_factory, table: list[tuple[str, str]], everything: bool) -> None:
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if everything or set(cell) & set('",\n') else cell

    text = '"a","b"\n' + "".join(f"{quoted(a)},{quoted(b)}\n" for a, b in table)
    rows, lines = read(tmp_path_factory.mktemp("t"), text.encode())
    full = [row for row in table if any(row)]
    assert rows == full
    assert lines == ({EMPTY: len(table) - len(full)} if len(full) < len(table) else {})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text('x" é', min_size=1), st.text('x" é', min_size=1)), min_size=1, max_size=8))
def test_without_quoting_each_line_is_a_row(tmp_path_factory, table: list[tuple[str, str]]) -> None:
    """Stray quotes never join lines."""
    text = "a\tb\n" + "".join(f"{a}\t{b}\n" for a, b in table) + 'z"\tz\n'
    rows, _ = read(tmp_path_factory.mktemp("t"), text.encode(), delimiter="\t")
    if not any('""' in cell for row in table for cell in row):  # otherwise it may be a file that doubles its quotes
        assert len(rows) == len(table) + 1
        assert rows[:-1] == table


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(['1,"x, y"\n', '1,"x\n\ny"\n', "2,z\n", '3,"z\n', '4,12" z\n', "\n"]), max_size=30),
    st.integers(1, 40),
)
def test_scanning_does_not_depend_on_block_boundaries(parts: list[str], step: int) -> None:
    text = "".join(parts).encode()
    whole = QuoteScanner(b",", 2, True)
    expected = whole.scan(text, last=True)[:2]
    cut, out, rest, records = QuoteScanner(b",", 2, True), b"", b"", 0
    lines = text.splitlines(keepends=True)
    for start in range(0, len(lines), step):
        rest += b"".join(lines[start : start + step])
        part, n, used = cut.scan(rest, last=False)
        out, records, rest = out + part, records + n, rest[used:]
    part, n, _ = cut.scan(rest, last=True)
    assert (out + part, records + n) == expected
    assert (cut.literal, cut.first) == (whole.literal, whole.first)


def zipped(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("t.csv",):
            archive.writestr(name, data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "t.csv.gz": gzip.compress,
    "t.csv.bz2": bz2.compress,
    "t.csv.xz": lzma.compress,
    "t.csv.zip": zipped,
    "t.csv.zst": zstd,
    "t.csv": gzip.compress,  # without the suffix
}
DATA = b"a,b\n" + b"".join(b"%d,title of %d\n" % (i, i * i) for i in range(3000))


@pytest.mark.parametrize("name", PACKED)
def test_compressed_files_are_read(tmp_path: Path, name: str) -> None:
    plain = read(tmp_path, DATA)
    assert read(tmp_path, PACKED[name](DATA), name) == plain
    if name != "t.csv.zip":  # two streams, one after the other
        assert read(tmp_path, PACKED[name](DATA[:1000]) + PACKED[name](DATA[1000:]), name) == plain


@pytest.mark.parametrize("name", [name for name in PACKED if name != "t.csv"])
@pytest.mark.parametrize("damage", ["half", "end", "middle"])
def test_broken_compressed_files_raise(tmp_path: Path, name: str, damage: str) -> None:
    data = PACKED[name](DATA)
    broken = {"half": data[: len(data) // 2], "end": data[:-3], "middle": data[:60] + b"\0\0\0\0" + data[64:]}[damage]
    if name == "t.csv.zst" and damage == "middle":
        pytest.skip("pyarrow writes zstd without checksums")
    with pytest.raises(HarnessError, match=rf"{name} (is truncated|cannot be read)"):
        read(tmp_path, broken, name)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zst"])
def test_trailing_bytes_after_a_compressed_stream_raise(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match=name):
        read(tmp_path, PACKED[name](DATA) + b"and more", name)


REFUSED: list[tuple[str, bytes, str]] = [
    ("t.csv.zip", zipped(DATA, "a.csv", "b.csv"), "archive of 2 files \\('a.csv', 'b.csv'\\), not of one"),
    ("t.csv.gz", DATA, "is not gzip"),
    ("t.csv.xz", DATA, "is not xz"),
    ("t.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive, which is not supported"),
    ("t.rar", b"Rar!\x1a\x07" + bytes(99), "a RAR archive"),
    ("t.tar", bytes(257) + b"ustar" + bytes(300), "a tar archive"),
    ("t.tar.gz", gzip.compress(bytes(257) + b"ustar" + bytes(300)), "a tar archive"),
    ("t.csv.gz", gzip.compress(gzip.compress(DATA)), "a gzip file inside another"),
    ("t.xls", b"\xd0\xcf\x11\xe0" + bytes(99), "an Excel file"),
    ("t.csv", "a,b\n1,x\n".encode("utf-16-le"), "NUL bytes: it is not text, or UTF-16"),
    ("t.csv", b"a,b\n" + b"x" * (2**25 + 2**24), "row 2: the line is longer than 32 MB"),
    ("t.csv", b"", "is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "message"), REFUSED, ids=[message[:20] for *_, message in REFUSED])
def test_unsupported_files_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as error:
        read(tmp_path, data, name)
    assert "\n" not in str(error.value)


TITLES = "a,b\n1,Größe 日本\n2,y\n"
ENCODED: list[tuple[str, bytes]] = [
    ("utf-8", TITLES.encode("utf-8-sig")),
    ("utf-8", TITLES.encode("utf-16")),  # by its byte order mark
    ("utf-8", b"\xfe\xff" + TITLES.encode("utf-16-be")),
    ("utf-8", TITLES.encode("utf-32")),
    ("utf-16-le", TITLES.encode("utf-16-le")),
    ("UTF-16", TITLES.encode("utf-16")),
    ("gb18030", TITLES.encode("gb18030")),
]


@pytest.mark.parametrize(("encoding", "data"), ENCODED)
def test_encodings(tmp_path: Path, encoding: str, data: bytes) -> None:
    assert read(tmp_path, data, encoding=encoding) == ([("1", "Größe 日本"), ("2", "y")], {})


@pytest.mark.parametrize("encoding", ["shift_jis", "cp1252", "euc-kr", "utf-16", "ascii"])
def test_undecodable_rows_are_dropped(tmp_path: Path, encoding: str) -> None:
    bad = "\ud800".encode("utf-16-le", "surrogatepass") if encoding == "utf-16" else b"\x81\xff"
    if encoding in ("shift_jis", "euc-kr"):
        bad = b"\xff"
    data = "a,b\n1,x".encode(encoding) + bad + "\n2,y\n".encode(encoding).removeprefix(b"\xff\xfe")
    assert read(tmp_path, data, encoding=encoding) == ([("2", "y")], {BYTES: 1})


@pytest.mark.parametrize(
    ("name", "near"), [("utf8x", "utf"), ("latin1x", "latin"), ("base64", ""), ("idna", ""), ("", "")]
)
def test_unknown_encodings_raise_with_a_suggestion(name: str, near: str) -> None:
    with pytest.raises(HarnessError, match="Unknown encoding") as error:
        make_source({"source": "table", "interactions": "e", "items": "i", "layout": {"encoding": name}})
    assert near in str(error.value).split("Name one")[0].split("mean")[-1]
    assert check_encoding("Latin1") == "iso8859-1"


def test_row_numbers_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.streams._BLOCK_SIZE", 7)
    (tmp_path / "t.csv").write_bytes(b"\na,b\n" + b"".join(b"%d,x\n" % i if i % 3 else b"\n1\n" for i in range(40)))
    findings = Findings()
    lines = (tmp_path / "t.csv").read_bytes().split(b"\n")
    for chunk in read_text(tmp_path / "t.csv", ("a",), TextFormat(), Reader(findings)):
        for index, value in enumerate(chunk.table["a"].to_pylist()):
            assert lines[chunk.row(index) - 1] == f"{value},x".encode()
    assert {reason: f.count for reason, f in findings.dropped.items()} == {FIELDS: 14}
    assert b"".join(block for block, _ in text_blocks(tmp_path / "t.csv")) == (tmp_path / "t.csv").read_bytes()


# --- tables ---------------------------------------------------------------------------------------------------------

HEAD = "user_id,item_id,timestamp,rating\n"
EVENTS = [("ann", "1", 100, 5), ("ann", "2", 200, 3), ("bob", "1", 300, 4), ("bob", "3", 400, 1)]


def table(folder: Path, **options) -> dict:
    (folder / "e.csv").write_text(HEAD + "".join(f"{u},{i},{t},{r}\n" for u, i, t, r in EVENTS))
    (folder / "i.csv").write_text("item_id,title\n1,One\n2,Two\n3,Three\n")
    return {"source": "table", "interactions": "e.csv", "items": "i.csv"} | options


def prepared(options: dict, folder: Path, k_core: int = 1) -> tuple[Domain, list[str]]:
    """The domain, and the lines shown to the user about its rows."""
    source = make_source(options)
    with TemporaryDirectory() as scratch:
        preparation = prepare_into(Path(scratch), source.open("toy", folder), k_core)
    lines = [line for line in preparation.lines() if "order of ties" not in line and "exact duplicates" not in line]
    return prepare(source.open("toy", folder), k_core), lines


def pairs(domain: Domain) -> set[tuple[str, str]]:
    users, items = domain.interactions.users, domain.interactions.items
    return {(domain.user_ids[u], domain.catalogue.item_ids[i]) for u, i in zip(users, items, strict=True)}


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.0, 2.0, 1.0, 3.0]),
        pa.array([1.0, 2.0, 1.0, 3.0], pa.float32()),
        pa.array([1, 2, 1, 3], pa.int16()),
        pa.array(["1", "2", "1", "3"], pa.large_string()),
        pa.array(["1", "2", "1", "3"]).dictionary_encode(),
        pa.array(["1.00", "2.00", "1.00", "3.00"]).cast(pa.decimal128(5, 2)),
        pa.array([b"1", b"2", b"1", b"3"]),
    ],
    ids=lambda ids: str(ids.type)[:12],
)
def test_ids_have_the_same_text_whatever_their_type(tmp_path: Path, ids: pa.Array) -> None:
    options = table(tmp_path)
    expected, _ = prepared(options, tmp_path)
    events = {"user_id": [u for u, *_ in EVENTS], "item_id": ids, "timestamp": [t for _, _, t, _ in EVENTS]}
    pq.write_table(pa.table(events), tmp_path / "e.parquet")
    domain, _ = prepared(options | {"interactions": "e.parquet"}, tmp_path)
    assert domain.fingerprint == expected.fingerprint


def test_ids_that_are_not_whole_numbers(tmp_path: Path) -> None:
    options = table(tmp_path, interactions="e.parquet")
    ids = [12.0, 12.5, None, float("nan"), 1e300]
    pq.write_table(pa.table({"user_id": ["u"] * 5, "item_id": ids, "timestamp": range(5)}), tmp_path / "e.parquet")
    with pytest.raises(HarnessError, match="none of its 4 items is in the items file"):
        prepared(options, tmp_path)
    (tmp_path / "i.csv").write_text("item_id,title\n12,Twelve\n12.5,A half more\n")
    domain, _ = prepared(options, tmp_path)
    assert domain.catalogue.item_ids == ("12", "12.5", "1e+300", "nan")


def test_parquet_is_detected_by_its_first_bytes_and_undecodable_rows_are_dropped(tmp_path: Path) -> None:
    titles = pa.array([b"One", b"\xff", b"Three"]).view(pa.binary())
    strings = pa.StringArray.from_buffers(3, titles.buffers()[1], titles.buffers()[2])
    pq.write_table(pa.table({"item_id": [1, 2, 3], "title": strings}), tmp_path / "items.dat")
    domain, lines = prepared(table(tmp_path, items="items.dat"), tmp_path)
    assert domain.catalogue.texts == ("One", "", "Three")
    assert any(BYTES in line for line in lines)


def test_parquet_lists_are_joined(tmp_path: Path) -> None:
    titles = [["One", None, "two"], None, []]
    pq.write_table(
        pa.table({"item_id": [1, 2, 3], "title": titles, "tags": [[["x"], []], [["y", "z"]], None]}),
        tmp_path / "i.parquet",
    )
    options = table(tmp_path, items="i.parquet", item_columns={"text": ["title", "tags"]})
    assert prepared(options, tmp_path)[0].catalogue.texts == ("One two x", "y z", "")


def test_several_files_are_concatenated(tmp_path: Path) -> None:
    options = table(tmp_path)
    whole, _ = prepared(options, tmp_path)
    lines = (tmp_path / "e.csv").read_text().splitlines(keepends=True)
    (tmp_path / "e1.csv").write_text("".join(lines[:3]))
    (tmp_path / "e2.tsv").write_text("".join([lines[0], *lines[3:]]).replace(",", "\t"))
    (tmp_path / "i1.csv").write_text("item_id,title\n1,One\n")
    (tmp_path / "i2.csv").write_text("title,item_id\nTwo,2\nThree,3\n")
    parts = options | {"interactions": ["e1.csv", "e2.tsv"], "items": ["i1.csv", "i2.csv"]}
    domain, _ = prepared(parts, tmp_path)
    assert domain.fingerprint == whole.fingerprint
    assert len(make_source(parts).files(tmp_path)) == 4
    with pytest.raises(HarnessError, match="none twice"):
        make_source(options | {"interactions": ["e.csv", "e.csv"]})
    with pytest.raises(HarnessError, match="at least one"):
        make_source(options | {"items": []})


def test_low_ratings_are_dropped_on_purpose(tmp_path: Path) -> None:
    options = table(tmp_path, least_rating=5)
    domain, lines = prepared(options, tmp_path)
    assert pairs(domain) == {("ann", "1")}
    assert lines == [f"dropped 3 rows: a rating below 5 (first: {tmp_path / 'e.csv'} row 3)"]
    with pytest.raises(HarnessError, match="'stars'"):
        prepared(options | {"columns": {"rating": "stars"}}, tmp_path)
    with (tmp_path / "e.csv").open("a") as file:
        file.write("ann,3,500,lots\nann,2,600,\nbob,2,700,11e999500000003\n")
    domain, lines = prepared(options | {"least_rating": 4}, tmp_path)
    assert pairs(domain) == {("ann", "1"), ("bob", "1"), ("bob", "2")}
    assert sorted(line.split(" (first")[0] for line in lines) == [
        "dropped 2 rows: a rating below 4",
        "dropped 2 rows: not a rating",
    ]


@pytest.mark.parametrize("changes", [{"items": None}, {"item_columns": {"text": []}}])
def test_items_without_texts_are_reported(tmp_path: Path, changes: dict) -> None:
    domain, lines = prepared(table(tmp_path, **changes), tmp_path)
    assert domain.catalogue.texts == ("", "", "")
    assert not domain.catalogue.has_text
    assert lines == ["3 items without text: a language model sees an empty text (first: 1)"]
    assert prepared(table(tmp_path), tmp_path)[0].catalogue.has_text


def test_later_options_do_not_change_the_identity_of_older_suites() -> None:
    options = {"source": "table", "interactions": "e.csv", "items": "i.csv"}
    dumped = make_source(options).model_dump(mode="json")
    assert set(dumped) == {
        "source", "users", "interactions", "items", "columns", "item_columns", "time_unit", "layout", "items_layout",
    }  # fmt: skip
    assert set(dumped["columns"]) == {"user", "item", "timestamp"}
    assert "least_rating" in make_source(options | {"least_rating": 4}).model_dump()


HTML = [
    ("Tom &amp; Jerry", "Tom & Jerry"),
    ("a<br/>b", "a b"),
    ("wa<b>t</b>er", "water"),
    ("<p>One</p><p>Two</p>", "One Two"),
    ("4 < 5 and I <3 you", "4 < 5 and I <3 you"),
    ("caf&eacute; &#39;x&#39; &unknown;", "café 'x' &unknown;"),
    ("<span id='t'>Lamp</span><script>var x = '<b>';</script>", "Lamp"),
    ("<![odd[ x", "<![odd[ x"),
    ("&lt;b&gt;", "<b>"),
]


@pytest.mark.parametrize(("title", "plain"), HTML)
def test_clean_html(tmp_path: Path, title: str, plain: str) -> None:
    options = table(tmp_path)
    (tmp_path / "i.csv").write_text(f'item_id,title\n1,"{title}"\n2,Two\n')
    raw, _ = prepared(options, tmp_path)
    clean, lines = prepared(options | {"clean_html": True}, tmp_path)
    assert (raw.catalogue.texts[0], clean.catalogue.texts) == (title, (plain, "Two", ""))
    assert any("1 texts with HTML" in line for line in lines) == (title != plain)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None), ({"a": 1}, None), ([], ""), (True, "True"), (12.0, "12"), (1.5, "1.5"), (-0.0, "0"), (7, "7"),
        (["a", None, ["b", ["c", 2.0]], {"d": 1}, "", True], "a b c 2 True"), ({"y", "x"}, "x y"), (b"x", "x"),
    ],
)  # fmt: skip
def test_text_of(value: object, text: str | None) -> None:
    assert text_of(value) == text


def test_text_of_deeply_nested_lists() -> None:
    nested: object = "x"
    for _ in range(100_000):
        nested = [nested]
    assert text_of(nested) == "x"
    for lost in (1e30, "\ud800", b"\xff"):
        with pytest.raises(ValueError, match=r"lost digits|codec"):
            text_of(lost)


# --- split sequences ----------------------------------------------------------------------------------


def sequences(folder: Path, **changes: object) -> dict:
    files: dict[str, object] = {
        "train": {"0": [0, 1], "1": [1, 2], "2": [0, 1, 2, 0], "3": [2, 1, 0]},
        "val": {"0": [2], "1": [0], "2": []},
        "test": {"0": [1], "1": [1], "2": []},
        "umap": {"ann": 0, "bob": 1, "cyd": 2, "dan": 3},
        "smap": {"a": 0, "b": 1, "c": 2},
        "meta_data": {i: {"title": i.upper()} for i in "abc"},
    }
    for name, content in (files | changes).items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return {"source": "sequence-json", "folder": "."}


def test_users_without_held_out_events_are_train_only(tmp_path: Path) -> None:
    preparation = prepare_domain(
        Store(tmp_path / "store"), make_source(sequences(tmp_path)), "toy", 1, tmp_path
    ).preparation
    domain = load_domain(Store(tmp_path / "store"), preparation.fingerprint, "toy")
    assert preparation.noted == {"users without a validation or test event: used for training only": (2, "cyd")}
    assert [domain.user_ids[user] for user in domain.train_only] == ["cyd", "dan"]
    for split, kept in ((LeaveOneOut(), [2, 2, 4, 3]), (SelectedOnTest(), [3, 3, 4, 3])):
        training, test = split.training(domain), split.test(domain)
        assert training.train.lengths.tolist() == kept
        assert training.validation.histories.users.tolist() == test.histories.users.tolist() == [0, 1]
        assert [domain.catalogue.item_ids[i] for i in test.targets] == ["b", "b"]
        assert [list(seq) for seq in test.histories.sequences] == [[0, 1, 2], [1, 2, 0]]


def test_train_only_users_change_the_fingerprint(tmp_path: Path) -> None:
    some, _ = prepared(sequences(tmp_path), tmp_path)
    whole, _ = prepared(
        sequences(tmp_path, train={"0": [0, 1], "1": [1, 2], "2": [0, 1], "3": [2]}, val={"0": [2], "1": [0], "2": [2], "3": [1]},
                  test={"0": [1], "1": [1], "2": [0], "3": [0]}), tmp_path)  # fmt: skip
    assert np.array_equal(some.interactions.items, whole.interactions.items)
    assert some.fingerprint != whole.fingerprint
    assert whole.train_only == ()


def test_a_single_held_out_event_is_dropped(tmp_path: Path) -> None:
    options = sequences(tmp_path, test={"0": [1], "1": [1], "2": [1]})
    domain, lines = prepared(options, tmp_path)
    assert domain.interactions.lengths.tolist() == [4, 4, 4, 3]
    assert any("dropped 1 rows: held-out event of a user without the other one" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"0": [0], "00": [1]}}, "user '00' is not in umap.json"),
        ({"train": {"0": [0], "٠": [1]}}, "user '٠'"),
        ({"train": {"9" * 5000: [0]}}, "is not in umap.json"),
        ({"train": '{"0": [0, 1], "0": [2]}'}, "the key '0' is given twice"),
        ({"umap": '{"ann": 0, "ann": 1}'}, "the key 'ann' is given twice"),
        ({"val": {"0": [2], "1": [0, 1]}}, "val.json: user 1 has 2 events, not one"),
        ({"val": {}}, "no user has a validation and a test event"),
        ({"train": {"1": [1]}}, "train.json: user 0 of val.json has no event"),
        ({"smap": {"a": 0, "b": 1, "c": True}}, "'c' has the index True"),
        ({"smap": '{"\\ud800": 0}'}, "not valid JSON"),
        ({"train": "[" * 2000}, "not valid JSON"),
    ],
)
def test_invalid_sequences_raise(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        prepared(sequences(tmp_path, **changes), tmp_path)


def test_compressed_sequences_and_list_texts(tmp_path: Path) -> None:
    options = sequences(
        tmp_path, meta_data={"a": {"title": ["A", ["x", None]]}, "b": {"title": 0}, "c": {"title": 1e30}}
    )
    (tmp_path / "train.json").write_bytes(gzip.compress((tmp_path / "train.json").read_bytes()))
    domain, lines = prepared(options, tmp_path)
    assert domain.catalogue.texts == ("A x", "0", "")
    assert any("1 items whose text cannot be read" in line for line in lines)
    assert not prepared(options | {"text": []}, tmp_path)[0].catalogue.has_text
