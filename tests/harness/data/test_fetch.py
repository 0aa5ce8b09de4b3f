"""Downloading, against a server of our own that drops, truncates, corrupts and redirects."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.data import fetch as module
from harness.data.fetch import Manners, RemoteFile, check_address, fetch, verify
from harness.errors import HarnessError

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()
QUICK = Manners(tries=4, wait_s=0, timeout_s=3)


class Server:
    """Answers each request with the next of its scripts, the last one for ever; keeps the requests' headers."""

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
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def body(
        self,
        data: bytes = BODY,
        until: int | None = None,
        ranges: bool = True,
        tag: str | None = '"one"',
        **headers: str,
    ) -> Callable[[BaseHTTPRequestHandler], None]:
        """Sends data, from where it was asked to if `ranges`; hangs up after `until` bytes of it."""

        def script(handler: BaseHTTPRequestHandler) -> None:
            asked = handler.headers.get("Range")
            start = int(asked[6:-1]) if ranges and asked and handler.headers.get("If-Range") == tag else 0
            if start >= len(data) and start:
                handler.send_error(416)
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
    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return script


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def get(server: Server, folder: Path, name: str = "data.bin", sha256: str | None = None, **options: bool):
    return fetch([RemoteFile(f"{server.url}/{name}", name, sha256, **options)], folder, manners=QUICK)[0]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.name not in ("data.bin", "fetched.json"))


def test_a_file_is_fetched_once_recorded_and_then_checked(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    first = get(server, tmp_path)
    assert (first.sha256, first.size, first.first_use, first.already) == (SHA, len(BODY), True, False)
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert leftovers(tmp_path) == []
    second = get(server, tmp_path)
    assert (second.first_use, second.already, len(server.requests)) == (False, True, 1)
    assert [(c.name, c.state) for c in verify(tmp_path)] == [("data.bin", "ok")]


def test_a_dropped_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(until=300_000), server.body(until=700_000), server.body()]
    assert get(server, tmp_path, sha256=SHA).sha256 == SHA
    starts = [int(r["Range"][6:-1]) for r in server.requests[1:]]
    assert 300_000 - 2**16 < starts[0] <= 300_000 < 700_000 - 2**16 < starts[1] <= 700_000
    # Of each drop, less than a chunk was sent twice.
    assert len(BODY) <= server.sent < len(BODY) + 2 * 2**16
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("how", ["no ranges", "no mark", "another file meanwhile"])
def test_where_it_cannot_go_on_it_starts_over(server: Server, tmp_path: Path, how: str) -> None:
    other = BODY[::-1]
    server.scripts = {
        "no ranges": [server.body(until=300_000), server.body(ranges=False)],
        "no mark": [server.body(until=300_000, tag=None), server.body(tag=None)],
        "another file meanwhile": [server.body(until=300_000), server.body(other, tag='"two"')],
    }[how]
    get(server, tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == (other if how.startswith("another") else BODY)


def test_a_part_left_by_an_earlier_command_is_used(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(until=300_000)] * 4
    server.scripts[1:] = [server.body(until=300_000, ranges=False, tag='"one"')] * 3
    with pytest.raises(HarnessError, match=r"the connection failed .*after 4 tries.*goes on"):
        get(server, tmp_path)
    assert not (tmp_path / "data.bin").exists()
    server.scripts = [server.body()]
    server.requests.clear()
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[0]["Range"] == f"bytes={300_000 - 300_000 % 2**16}-"


def test_an_interrupted_download_loses_nothing(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]

    def interrupt(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([RemoteFile(f"{server.url}/data.bin", "data.bin")], tmp_path, interrupt, QUICK)
    part = (tmp_path / "data.bin.part").stat().st_size
    assert 0 < part < len(BODY)
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[1]["Range"] == f"bytes={part}-"


def test_a_corrupt_download_is_refused_and_forgotten(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(BODY[:-1] + b"x")]
    with pytest.raises(HarnessError, match=f"has the SHA-256 .*, but {SHA} is known"):
        get(server, tmp_path, sha256=SHA)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_since_its_first_use_is_refused(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    get(server, tmp_path)
    (tmp_path / "data.bin").write_bytes(b"other")
    assert verify(tmp_path)[0].state == "changed"
    with pytest.raises(HarnessError, match="SHA-256"):
        get(server, tmp_path)
    (tmp_path / "data.bin").unlink()
    assert verify(tmp_path)[0].state == "missing"
    server.scripts = [server.body(b"other")]
    with pytest.raises(HarnessError, match="SHA-256"):
        get(server, tmp_path)
    assert not (tmp_path / "data.bin").exists()


def test_a_file_put_there_by_hand_is_adopted_or_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(BODY)
    assert get(server, tmp_path).already
    with pytest.raises(HarnessError, match="SHA-256"):
        get(server, tmp_path, sha256="0" * 64)
    assert server.requests == []


def test_a_good_redirect_is_followed_and_a_bad_one_is_not(server: Server, tmp_path: Path) -> None:
    server.scripts = [status(302, Location="/elsewhere"), server.body()]
    assert get(server, tmp_path).sha256 == SHA
    assert server.requests[1]["path"] == "/elsewhere"
    for code, where, message in (
        (302, "/again", "more than 5 redirects"),
        (301, "file:///etc/passwd", "no http address"),
        (307, "ftp://example.org/x", "no http address"),
    ):
        server.scripts = [status(code, Location=where)]
        with pytest.raises(HarnessError, match=message):
            get(server, tmp_path, name="other.bin")
    with pytest.raises(HarnessError, match="unprotected"):
        check_address("http://example.org/x", "https://example.org/x")
    assert not (tmp_path / "other.bin").exists()


def test_server_errors_are_tried_again_and_refusals_are_not(server: Server, tmp_path: Path) -> None:
    server.scripts = [status(503), status(429), server.body()]
    assert get(server, tmp_path).sha256 == SHA
    for code, tries in ((404, 1), (403, 1), (500, 4)):
        server.scripts, server.requests = [status(code)], []
        with pytest.raises(HarnessError, match=f"answers {code}"):
            get(server, tmp_path, name="other.bin")
        assert len(server.requests) == tries


def test_what_is_not_the_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body(b"<html>Access denied</html>", Content_Type="text/html; charset=utf-8")]
    with pytest.raises(HarnessError, match="web page"):
        get(server, tmp_path)
    server.scripts = [server.body(gzip.compress(BODY), Content_Encoding="gzip")]
    with pytest.raises(HarnessError, match="encoded"):
        get(server, tmp_path)
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert not (tmp_path / "data.bin").exists()


def test_no_network_says_where_to_put_the_file(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=f"the connection failed .*put the file at {tmp_path}/data.bin by hand"):
        fetch([RemoteFile("http://127.0.0.1:9/data.bin", "data.bin")], tmp_path, manners=QUICK)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "c:/x", "a\\..\\x", ""])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="leads out"):
        fetch([RemoteFile("http://127.0.0.1:9/", name)], tmp_path, manners=QUICK)


def test_a_corrupt_record_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text('{"data.bin": 3}')
    with pytest.raises(HarnessError, match=r"fetched.json is corrupt"):
        get(server, tmp_path)


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for info, data in infos:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("inside")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz"])
def test_archives_are_unpacked_and_their_files_are_verified_too(server: Server, tmp_path: Path, name: str) -> None:
    data = (
        zipped(**{"ml/ratings.dat": BODY})
        if name.endswith("zip")
        else tarred((tarfile.TarInfo("ml/ratings.dat"), BODY))
    )
    server.scripts = [server.body(data)]
    get(server, tmp_path, name=name, unpack=True)
    assert (tmp_path / "ml" / "ratings.dat").read_bytes() == BODY
    assert [c.state for c in verify(tmp_path)] == ["ok", "ok"]
    (tmp_path / "ml" / "ratings.dat").unlink()
    assert [c.state for c in verify(tmp_path)] == ["ok", "missing"]
    get(server, tmp_path, name=name, unpack=True)
    assert [c.state for c in verify(tmp_path)] == ["ok", "ok"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(**{"fine": b"x", "../escaped": b"x"}), "'../escaped' leads out"),
        (zipped(**{"/tmp/escaped": b"x"}), "leads out"),
        (tarred((tarfile.TarInfo("fine"), b"x"), (tarfile.TarInfo("../escaped"), b"x")), "'../escaped' leads out"),
        (tarred((link(), b"")), "'inside' is no plain file"),
        (zipped(bomb=b"\0" * 3_000_000), "unpacks to far more"),
        (zipped(fine=BODY)[:-30], "cannot be unpacked"),
        (b"no archive at all", "cannot be unpacked"),
    ],
)
def test_hostile_archives_leave_nothing_behind(server: Server, tmp_path: Path, data: bytes, message: str) -> None:
    folder = tmp_path / "data"
    server.scripts = [server.body(data)]
    strict = Manners(tries=1, wait_s=0, always_allowed=2_000_000)
    with pytest.raises(HarnessError, match=message):
        fetch([RemoteFile(f"{server.url}/a.zip", "a.zip", unpack=True)], folder, manners=strict)
    assert [p.name for p in tmp_path.rglob("*")] == ["data", "a.zip"]


def test_the_record_says_where_each_file_is_from(server: Server, tmp_path: Path) -> None:
    server.scripts = [server.body()]
    get(server, tmp_path)
    entry = json.loads((tmp_path / module.RECORD).read_text())["data.bin"]
    assert (entry["url"], entry["sha256"], entry["size"]) == (f"{server.url}/data.bin", SHA, len(BODY))
