"""Downloads from a local server that drops connections, truncates, corrupts and redirects."""

import errno
import gzip
import hashlib
import io
import json
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.data import download
from harness.data.download import DownloadPolicy, RemoteFile, check_address
from harness.data.fetch import RECORD, fetch, verify
from harness.errors import HarnessError

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = DownloadPolicy(tries=4, wait_s=0, timeout_s=3)


class Server:
    """Answers each request with the next of its scripts, then always with the last; records the requests' headers."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[dict[str, str]] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append({**self.headers, "path": self.path})
                script = outer.scripts[min(len(outer.requests), len(outer.scripts)) - 1]
                script(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        # Polled often: shutting down waits for the next poll.
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def body(
        self,
        data: bytes = BODY,
        until: int | None = None,
        ranges: bool = True,
        tag: str | None = '"one"',
        **headers: str,
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        """Sends data, from the requested offset if `ranges`; closes the connection after `until` bytes of it."""

        def script(handler: BaseHTTPRequestHandler) -> None:
            requested = handler.headers.get("Range")
            start = int(requested[6:-1]) if ranges and requested and handler.headers.get("If-Range") == tag else 0
            if start >= len(data) and start:
                status(416, **{"Content-Range": f"bytes */{len(data)}"})(handler)
                return
            handler.send_response(206 if start else 200)
            handler.send_header("Content-Length", str(len(data) - start))
            if tag:
                handler.send_header("ETag", tag)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            sent = data[start:until]
            handler.wfile.write(sent)
            self.sent += len(sent)
            handler.close_connection = True

        return script


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return raw(code, b"", **{"Content-Length": "0", **headers})


def raw(code: int, data: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """These headers and bytes, whatever the request."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return script


def piece(start: int, end: int, total: int | str = len(BODY)) -> Callable[[BaseHTTPRequestHandler], None]:
    """A 206 with bytes start to end - 1, whatever the request."""
    span = {"Content-Range": f"bytes {start}-{end - 1}/{total}", "Content-Length": str(end - start), "ETag": '"one"'}
    return raw(206, BODY[start:end], **span)


@pytest.fixture
def server() -> Iterator[Server]:
    local = Server()
    yield local
    local.http.shutdown()
    local.http.server_close()


def get(server: Server, folder: Path, name: str = "data.bin", sha256: str | None = None, **options: int):
    return fetch([RemoteFile(f"{server.url}/{name}", name, sha256, **options)], folder, policy=QUICK)[0]


def leave_part(server: Server, folder: Path, data: bytes) -> None:
    """Write the partial data.bin of an earlier command."""
    (folder / "data.bin.part").write_bytes(data)
    (folder / "data.bin.part.json").write_text(json.dumps({"url": f"{server.url}/data.bin", "tag": '"one"'}))


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name not in ("data.bin", "fetched.json"))


def test_files_are_fetched_once_and_then_checked(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    first = get(server, tmp_path)
    assert (first.sha256, first.size, first.first_use, first.already) == (SHA, len(BODY), True, False)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert leftovers(tmp_path) == []
    second = get(server, tmp_path)
    assert (second.first_use, second.already, len(server.requests)) == (False, True, 1)
    assert [(c.name, c.state) for c in verify(tmp_path)] == [("data.bin", "ok")]


def test_dropped_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(until=300_000), server.body(until=700_000), server.body()]
    assert get(server, tmp_path, sha256=SHA).sha256 == SHA
    starts = [int(r["Range"][6:-1]) for r in server.requests[1:]]
    assert 300_000 - 2**16 < starts[0] <= 300_000 < 700_000 - 2**16 < starts[1] <= 700_000
    # Each drop costs less than one chunk.
    assert len(BODY) <= server.sent < len(BODY) + 2 * 2**16
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("how", ["no ranges", "no validator", "weak validator", "another file"])
def test_downloads_that_cannot_be_resumed_start_over(server: Server, tmp_path: Path, how: str) -> None:
    other = BODY[::-1]
    server.scripts = {
        "no ranges": [server.body(until=300_000), server.body(ranges=False)],
        "no validator": [server.body(until=300_000, tag=None), server.body(tag=None)],
        "weak validator": [server.body(until=300_000, tag='W/"one"'), server.body(tag='W/"one"')],
        "another file": [server.body(until=300_000), server.body(other, tag='"two"')],
    }[how]
    get(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == (other if how.startswith("another") else BODY)
    assert ("Range" in server.requests[1]) == (not how.endswith("validator"))


def test_partial_files_of_earlier_commands_are_resumed(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(until=300_000)] * 4
    server.scripts[1:] = [server.body(until=300_000, ranges=False, tag='"one"')] * 3
    with pytest.raises(HarnessError, match=r"the connection failed .*after 4 tries.*resume the download"):
        get(server, tmp_path)
    assert not (tmp_path / "data.bin").exists()
    server.scripts = [server.body()]
    server.requests.clear()
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[0]["Range"] == f"bytes={300_000 - 300_000 % 2**16}-"


def test_interrupted_downloads_are_resumed(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]

    def interrupt(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([RemoteFile(f"{server.url}/data.bin", "data.bin")], tmp_path, interrupt, QUICK)
    part = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < part < len(BODY)
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[1]["Range"] == f"bytes={part}-"


def test_complete_partial_files_are_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, BODY)
    server.scripts = [server.body()]
    assert get(server, tmp_path).sha256 == SHA
    assert (len(server.requests), server.sent, leftovers(tmp_path)) == (1, 0, [])


@pytest.mark.parametrize(
    "refusal",
    [status(416), status(416, **{"Content-Range": "bytes */7"}), piece(0, 1000), piece(500, 1000, "*")],
    ids=["no length", "another length", "another range", "unknown length"],
)
def test_partial_files_that_cannot_be_resumed_are_removed(
    server: Server, tmp_path: Path, refusal: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    leave_part(server, tmp_path, b"x" * 500)
    server.scripts = [refusal, server.body()]
    assert get(server, tmp_path).sha256 == SHA
    assert [r.get("Range") for r in server.requests] == ["bytes=500-", None]


def test_short_ranges_are_completed(server: Server, tmp_path: Path) -> None:
    leave_part(server, tmp_path, BODY[:1000])
    server.scripts = [piece(1000, 3000), server.body()]
    assert get(server, tmp_path).sha256 == SHA
    assert [r["Range"] for r in server.requests] == ["bytes=1000-", "bytes=3000-"]


def test_a_new_validator_is_never_stored_with_old_bytes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_part(server, tmp_path, b"x" * 500)
    server.scripts = [server.body(tag='"two"')]
    store_validator = download._store_validator

    def store_and_interrupt(*arguments) -> None:
        store_validator(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_store_validator", store_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path)
    monkeypatch.undo()
    assert get(server, tmp_path).sha256 == SHA


def test_a_known_size_is_checked(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    with pytest.raises(HarnessError, match=r"the server's file has 1,024,000 bytes, expected 1,024,001"):
        get(server, tmp_path, size=len(BODY) + 1)
    assert list(tmp_path.iterdir()) == []
    assert get(server, tmp_path, size=len(BODY)).size == len(BODY)
    with pytest.raises(HarnessError, match=r"1,024,000 bytes, expected 9. Delete"):
        get(server, tmp_path, size=9)
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_known_size_detects_truncation_without_content_length(server: Server, tmp_path: Path) -> None:
    server.scripts = [raw(200, BODY[:300_000], ETag='"one"'), server.body()]
    assert get(server, tmp_path, size=len(BODY)).sha256 == SHA
    assert server.requests[1]["Range"] == "bytes=300000-"
    server.scripts, server.requests = [raw(200, BODY + BODY)], []
    reported = []
    endless = RemoteFile(f"{server.url}/other.bin", "other.bin", size=len(BODY))
    with pytest.raises(HarnessError, match="sends more than 1,024,000 bytes"):
        fetch([endless], tmp_path, lambda what, done, total: reported.append(done), QUICK)
    assert (len(server.requests), leftovers(tmp_path)) == (1, [])
    assert 0 < max(reported) <= len(BODY)


def test_corrupt_downloads_are_removed(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(BODY[:-1] + b"x")]
    with pytest.raises(HarnessError, match=f"has the SHA-256 .*, expected {SHA}"):
        get(server, tmp_path, sha256=SHA)
    assert list(tmp_path.iterdir()) == []


def test_files_that_changed_since_their_first_use_are_refused(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    get(server, tmp_path)
    (tmp_path / "data.bin").write_bytes(b"other")
    assert verify(tmp_path)[0].state == "changed"
    with pytest.raises(HarnessError, match="SHA-256"):
        get(server, tmp_path)
    (tmp_path / "data.bin").unlink()
    assert verify(tmp_path)[0].state == "missing"
    server.scripts = [server.body(b"other")]
    with pytest.raises(HarnessError, match=r"SHA-256 .*delete the entry 'data.bin' in fetched.json"):
        get(server, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["fetched.json"]


def test_a_hash_known_later_replaces_that_of_the_first_use(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(b"other")]
    get(server, tmp_path)
    (tmp_path / "data.bin").unlink()
    server.scripts = [server.body()]
    assert not get(server, tmp_path, sha256=SHA).first_use
    assert [c.state for c in verify(tmp_path)] == ["ok"]


def test_verify_selected_files(server: Server, tmp_path: Path) -> None:
    for name, data in (("a.bin", BODY), ("b.zip", zipped(**{"ml/x": b"x", "ml/y": b"y"}))):
        server.scripts = [server.body(data)]
        get(server, tmp_path, name=name, unpack=name.endswith("zip"))
    (tmp_path / "ml" / "y").write_bytes(b"z")
    assert [(c.name, c.state) for c in verify(tmp_path, ["a.bin"])] == [("a.bin", "ok")]
    assert [(c.name, c.state) for c in verify(tmp_path, ["b.zip"])] == [
        ("b.zip", "ok"),
        ("ml/x", "ok"),
        ("ml/y", "changed"),
    ]
    assert len(verify(tmp_path)) == 4
    with pytest.raises(HarnessError, match=r"'c.bin'.*Known: a.bin, b.zip"):
        verify(tmp_path, ["c.bin"])


def test_verify_needs_a_record(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"fetched.json"):
        verify(tmp_path)


def test_files_put_there_by_hand_are_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(BODY)
    assert get(server, tmp_path).already
    with pytest.raises(HarnessError, match="SHA-256"):
        get(server, tmp_path, sha256="0" * 64)
    assert server.requests == []


def test_redirects(server: Server, tmp_path: Path) -> None:
    server.scripts = [status(302, Location="/elsewhere"), server.body()]
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[1]["path"] == "/elsewhere"
    for code, where, message in (
        (302, "/again", "more than 5 redirects"),
        (301, "file:///etc/passwd", "not an http address"),
        (307, "ftp://example.org/x", "not an http address"),
        (302, "http://[", "not lead to an address"),
    ):
        server.scripts = [status(code, Location=where)]
        with pytest.raises(HarnessError, match=message):
            get(server, tmp_path, name="other.bin")
    with pytest.raises(HarnessError, match="not an http address"):
        check_address("http://[")
    check_address("https://example.org/x", "http://example.org/x")
    with pytest.raises(HarnessError, match="unprotected"):
        check_address("http://example.org/x", "https://example.org/x")
    assert not (tmp_path / "other.bin").exists()


def test_only_temporary_errors_are_retried(server: Server, tmp_path: Path) -> None:
    server.scripts = [status(503), status(429), server.body()]
    assert get(server, tmp_path).sha256 == SHA
    for code, tries in ((404, 1), (403, 1), (500, 4)):
        server.scripts, server.requests = [status(code)], []
        with pytest.raises(HarnessError, match=f"answers {code}"):
            get(server, tmp_path, name="other.bin")
        assert len(server.requests) == tries


def test_web_pages_and_encoded_responses_are_refused(server: Server, tmp_path: Path) -> None:
    for kind in ("text/html; charset=utf-8", "Text/HTML", "application/xhtml+xml"):
        server.scripts = [server.body(b"<html>Access denied</html>", Content_Type=kind)]
        with pytest.raises(HarnessError, match="web page"):
            get(server, tmp_path)
    assert get(server, tmp_path, name="page.html").size == 26
    server.scripts = [server.body(gzip.compress(BODY), Content_Encoding="gzip")]
    with pytest.raises(HarnessError, match="encoded"):
        get(server, tmp_path)
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert not (tmp_path / "data.bin").exists()


def test_without_network_the_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError, match=f"connection failed .*put the file at {tmp_path}/data.bin by hand: it will be"
    ):
        fetch([RemoteFile("http://127.0.0.1:9/data.bin", "data.bin")], tmp_path, policy=QUICK)


def test_storage_errors(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    (tmp_path / "file").write_text("")
    (tmp_path / "data.bin").mkdir()
    with pytest.raises(HarnessError, match="is not a file"):
        get(server, tmp_path)
    with pytest.raises(HarnessError, match="Cannot store"):
        get(server, tmp_path, name="file/data.bin")
    with pytest.raises(HarnessError, match="Cannot write"):
        get(server, tmp_path / "file")
    assert server.requests == []


def test_unwritable_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # Not by permission bits: root may write anywhere.
    monkeypatch.setattr("harness.storage.files.tempfile.TemporaryFile", refused)
    with pytest.raises(HarnessError, match=f"Cannot write to {tmp_path}: Permission denied"):
        get(server, tmp_path)
    assert server.requests == []


def test_the_name_of_the_record_is_reserved() -> None:
    with pytest.raises(HarnessError, match="reserved for the record"):
        fetch([RemoteFile("http://127.0.0.1:9/", "./fetched.json")], Path("nowhere"), policy=QUICK)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "c:/x", "a\\..\\x", ""])
def test_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="leads out"):
        fetch([RemoteFile("http://127.0.0.1:9/", name)], tmp_path, policy=QUICK)


@pytest.mark.parametrize("content", ["", "[]", '{"data.bin": 3}', '{"../x": {"sha256": "0"}}'])
def test_corrupt_record(server: Server, tmp_path: Path, content: str) -> None:
    (tmp_path / "fetched.json").write_text(content)
    with pytest.raises(HarnessError, match=r"fetched.json is corrupt"):
        get(server, tmp_path)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def zipped_special(mode: int) -> bytes:
    """An archive with a link or device."""
    info = zipfile.ZipInfo("inside")
    info.external_attr = mode << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def damaged(archive: bytes, at: int | None = None) -> bytes:
    """Invert 20 bytes, by default in the middle."""
    at = len(archive) // 2 if at is None else at
    return archive[:at] + bytes(b ^ 255 for b in archive[at : at + 20]) + archive[at + 20 :]


@pytest.mark.parametrize("member", ["ml/ratings.dat", "./ml/ratings.dat"])
def test_archives_are_unpacked_and_their_files_are_verified_too(server: Server, tmp_path: Path, member: str) -> None:
    server.scripts = [server.body(zipped(**{member: BODY}))]
    get(server, tmp_path, name="data.zip", unpack=True)
    assert (tmp_path / "ml" / "ratings.dat").read_bytes() == BODY
    assert (tmp_path / "ml" / "ratings.dat").stat().st_mode & 0o777 == 0o644
    assert [(c.name, c.state) for c in verify(tmp_path)] == [("data.zip", "ok"), ("ml/ratings.dat", "ok")]
    (tmp_path / "ml" / "ratings.dat").unlink()
    assert [c.state for c in verify(tmp_path)] == ["ok", "missing"]
    get(server, tmp_path, name="data.zip", unpack=True)
    assert [c.state for c in verify(tmp_path)] == ["ok", "ok"]
    assert len(server.requests) == 1


def test_another_archive_of_the_same_name_is_unpacked_again(server: Server, tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        data = zipped(**{"ml/ratings.dat": content, f"ml/{content.decode()}": b""})
        server.scripts = [server.body(data)]
        get(server, tmp_path, name="a.zip", sha256=hashlib.sha256(data).hexdigest(), unpack=True)
        (tmp_path / "a.zip").rename(tmp_path / "away.zip")
        assert (tmp_path / "ml" / "ratings.dat").read_bytes() == content
    record = json.loads((tmp_path / "fetched.json").read_text())
    assert sorted(record) == ["a.zip", "ml/new", "ml/ratings.dat"]


@pytest.mark.parametrize("member", ["mine.txt", "a.zip", "fetched.json", "folder"])
def test_archives_replace_only_their_own_files(server: Server, tmp_path: Path, member: str) -> None:
    (tmp_path / "mine.txt").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    server.scripts = [server.body(zipped(**{"fine": b"x", member: b"theirs"}))]
    with pytest.raises(HarnessError, match="reserved for the record" if member == "fetched.json" else "would replace"):
        get(server, tmp_path, name="a.zip", unpack=True)
    assert (tmp_path / "mine.txt").read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "folder", "mine.txt"]
    server.scripts = [server.body(zipped(**{"mine.txt": b"mine"}))]
    get(server, tmp_path, name="b.zip", unpack=True)
    assert [c.state for c in verify(tmp_path)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(**{"fine": b"x", "../escaped": b"x"}), "'../escaped' leads out"),
        (zipped(**{"/tmp/escaped": b"x"}), "leads out"),
        (zipped_special(stat.S_IFLNK | 0o777), "'inside' is not a regular file"),
        (zipped_special(stat.S_IFCHR), "'inside' is not a regular file"),
        (damaged(zipped(fine=BODY)), "cannot be unpacked.*Delete"),
        (damaged(zipped(fine=BODY), at=34), "cannot be unpacked.*while decompressing"),  # where its data begin
        (zipped(one=b"\0" * 1_500_000, two=b"\0" * 1_500_000), "'two' unpacks to far more"),
        (zipped(bomb=b"\0" * 3_000_000), "unpacks to far more"),
        (zipped(fine=BODY)[:-30], "cannot be unpacked"),
        (b"no archive at all", "cannot be unpacked"),
    ],
    # An archive contains its creation time, so its bytes cannot be a test id.
    ids=lambda value: "archive" if isinstance(value, bytes) else None,
)
def test_hostile_archives_leave_nothing_behind(server: Server, tmp_path: Path, data: bytes, message: str) -> None:
    folder = tmp_path / "data"
    server.scripts = [server.body(data)]
    strict = DownloadPolicy(tries=1, wait_s=0, always_allowed=2_000_000)
    with pytest.raises(HarnessError, match=message):
        fetch([RemoteFile(f"{server.url}/a.zip", "a.zip", unpack=True)], folder, policy=strict)
    assert [p.name for p in tmp_path.rglob("*")] == ["data", "a.zip"]


def test_the_record_contains_the_addresses(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    get(server, tmp_path)
    entry = json.loads((tmp_path / RECORD).read_text())["data.bin"]
    assert (entry["url"], entry["sha256"], entry["size"]) == (f"{server.url}/data.bin", SHA, len(BODY))
