"""Downloading data sets from their publishers' public addresses.

What was cut off goes on where it stopped; nothing takes its final name before its size and hash were checked. Where the
publisher gives no hash, that of the first download is recorded and every later one must have it (trust on first use).
"""

import json
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import requests
import tenacity
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from urllib3.exceptions import HTTPError

from harness.data.records import ReadProgress, no_read_progress
from harness.errors import HarnessError
from harness.storage.files import check_writable, file_digest, write_atomically

RECORD = "fetched.json"
#: What a dropped connection may cost, in bytes.
_CHUNK = 2**16
#: What the archive modules and their decoders raise over a damaged archive, besides OSError.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: http or https.
        name: where it goes, below the folder.
        sha256: where it is known beforehand.
        size: bytes, where it is known beforehand.
        unpack: whether it is a zip or tar archive to unpack into the folder.
    """

    url: str
    name: str
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Fetched:
    """A file that is there and was checked.

    Attributes:
        name, url, sha256: of the file.
        size: bytes.
        first_use: nothing was known to check its hash against; from now on there is.
        already: it was there before.
    """

    name: str
    url: str
    sha256: str
    size: int
    first_use: bool
    already: bool


@dataclass(frozen=True)
class Checked:
    """A recorded file and its state: `ok`, `missing` or `changed`."""

    name: str
    state: str


@dataclass(frozen=True)
class DownloadPolicy:
    """How to deal with servers and archives.

    Attributes:
        tries: of each file.
        wait_s: before the second try; doubled before each further one.
        timeout_s: without any byte.
        redirects: at most.
        largest_ratio: archives that unpack to more than so many times their size, and to more than
            `always_allowed` bytes, are refused.
        always_allowed: bytes.
    """

    tries: int = 5
    wait_s: float = 1.0
    timeout_s: float = 30.0
    redirects: int = 5
    largest_ratio: float = 200.0
    always_allowed: int = 2**30


class _BrokenTransferError(Exception):
    """A transfer that may go better the next time."""


def fetch(
    files: Sequence[RemoteFile],
    folder: Path,
    report: ReadProgress = no_read_progress,
    policy: DownloadPolicy | None = None,
) -> list[Fetched]:
    """Downloads files into a folder, unless they are there; checks all of them.

    A file that is there is never replaced: one that was put there by hand is adopted if it is the one that is known.

    Returns:
        What is there now, in the order of `files`.

    Raises:
        HarnessError: no network, a refusal, a file that is not what it should be, a folder that cannot be written.
    """
    policy = policy or DownloadPolicy()
    for file in files:
        _check_name(file.name)
    check_writable(folder)
    return [_fetch_one(file, folder, report, policy) for file in files]


def verify(folder: Path, names: Sequence[str] | None = None) -> list[Checked]:
    """Hashes recorded files again, unpacked ones too.

    Args:
        folder: what was fetched into.
        names: of the files to check; that of an archive stands for what was unpacked from it as well. All if None.

    Returns:
        Their states, by name.

    Raises:
        HarnessError: the record is missing or corrupt, or does not have one of the names.
    """
    if not (folder / RECORD).is_file():
        raise HarnessError(f"No file {folder / RECORD}.", "Fetch the data with: harness data fetch.")
    record = _read_record(folder)
    for name in names or ():
        if name not in record:
            raise HarnessError.unknown("fetched file", name, record)
    checked = []
    for name, entry in sorted(record.items()):
        if names is None or name in names or entry.get("from") in names:
            path = folder / name
            same = path.is_file() and file_digest(path) == entry["sha256"]
            checked.append(Checked(name, "ok" if same else "changed" if path.is_file() else "missing"))
    return checked


def check_address(url: str, base: str | None = None) -> None:
    """Refuses addresses that are not http or https, and redirects from https down to http.

    Raises:
        HarnessError: such an address.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise HarnessError(f"{base or url} leads to {url}, which is no http address.", "Fetch the file by hand.")
    if base is not None and urlsplit(base).scheme == "https" and scheme == "http":
        raise HarnessError(f"{base} redirects to the unprotected {url}.", "Fetch the file by hand.")


def _fetch_one(file: RemoteFile, folder: Path, report: ReadProgress, policy: DownloadPolicy) -> Fetched:
    record = _read_record(folder)
    recorded = record.get(file.name, {}).get("sha256")
    known = file.sha256 or recorded
    path = folder / file.name
    with _storing(path):
        already = path.is_file()
        if path.exists() and not already:
            raise HarnessError(f"{path} is no file.", "Move it away.")
        if already:
            sha256 = file_digest(path)
            _check_content(file, path, path.stat().st_size, sha256, known, f"Delete {path} and fetch it again.")
        else:
            sha256 = _download(file, path, known, report, policy)
        if recorded != sha256:
            record[file.name] = {
                "url": file.url,
                "sha256": sha256,
                "size": path.stat().st_size,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        # What came out of another archive of that name says nothing about this one.
        if file.unpack and (recorded != sha256 or not _unpacked(folder, file.name, record)):
            record = _unpack(path, folder, file.name, record, policy)
        write_atomically(folder / RECORD, json.dumps(record, indent=1))
        return Fetched(file.name, file.url, sha256, path.stat().st_size, known is None, already)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"Cannot store {path}: {error.strerror or error}.", "Free some space, or choose another --data-dir."
        ) from error


def _check_content(file: RemoteFile, path: Path, size: int, sha256: str, known: str | None, hint: str) -> None:
    """Refuses a file that is not the one that is known.

    Raises:
        HarnessError: it has another size or hash.
    """
    if known not in (None, sha256):
        raise HarnessError(
            f"{path} from {file.url} has the SHA-256 {sha256}, but {known} is known.",
            f"Results on it would not be comparable. {hint}",
        )
    if file.size not in (None, size):
        raise HarnessError(f"{path} from {file.url} has {size:,} bytes, but {file.size:,} are known.", hint)


def _download(file: RemoteFile, path: Path, known: str | None, report: ReadProgress, policy: DownloadPolicy) -> str:
    """Downloads to `.part`, checks, and gives it its name.

    Returns:
        The file's SHA-256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_BrokenTransferError),
        stop=tenacity.stop_after_attempt(policy.tries),
        wait=tenacity.wait_exponential(multiplier=policy.wait_s, max=60),
        reraise=True,
    )
    try:
        with requests.Session() as session:
            for attempt in retrying:
                with attempt:
                    _transfer(session, file, part, report, policy)
    except _BrokenTransferError as error:
        raise HarnessError(
            f"{file.url}: {error}, after {policy.tries} tries.",
            f"Run the command again, it goes on where it stopped; or put the file at {path} by hand: "
            "it will be checked.",
        ) from error
    sha256 = file_digest(part)
    try:
        hint = (
            f"Run the command again; if it comes the same, the publisher changed it: put the file that is known at "
            f"{path} by hand."
        )
        if file.sha256 is None:
            hint += f" To use the new one from now on, delete the entry {file.name!r} in {RECORD} beside it."
        _check_content(file, path, part.stat().st_size, sha256, known, hint)
    except HarnessError:
        _forget(part)
        raise
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)
    _forget(part)
    return sha256


def _transfer(
    session: requests.Session, file: RemoteFile, part: Path, report: ReadProgress, policy: DownloadPolicy
) -> None:
    """One try: asks for what is not there yet, and appends it.

    Raises:
        _BrokenTransferError: it may go better the next time.
        HarnessError: it will not.
    """
    have, tag = _resumable(part, file.url)
    headers = {"Accept-Encoding": "identity"}  # or a .gz might be unzipped on the way
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with _network(file), _answer(session, file.url, headers, policy) as answer:
        # It stopped between the last byte and the check.
        if answer.status_code == 416 and have and answer.headers.get("Content-Range") == f"bytes */{have}":
            return
        _check_answer(file, part, answer)
        start, total = _extent(file, part, have, answer)
        if not start:
            # Before the new mark is noted: it must never stand beside an older file's bytes.
            _forget(part)
        _note(part, file.url, answer)
        done = start
        with part.open("ab" if start else "wb") as out:
            for chunk in answer.iter_content(_CHUNK):
                done += len(chunk)
                if total is not None and done > total:
                    break
                out.write(chunk)
                report(f"fetching {file.name}", done, total)
    if total is not None and done > total:
        _forget(part)
        raise HarnessError(f"{file.url}: the server sends more than {total:,} bytes.", _by_hand(part))
    if total is not None and done != total:
        raise _BrokenTransferError(f"the transfer ended after {done:,} of {total:,} bytes")


def _check_answer(file: RemoteFile, part: Path, answer: requests.Response) -> None:
    """Refuses answers that do not hold the file as it is.

    Raises:
        _BrokenTransferError: it may go better the next time.
        HarnessError: it will not.
    """
    if answer.status_code == 416:  # the file is another by now, or the part is spoilt
        _forget(part)
        raise _BrokenTransferError("the server refused to go on")
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise _BrokenTransferError(f"the server answers {answer.status_code}")
    if answer.status_code not in (200, 206):
        raise HarnessError(f"{file.url}: the server answers {answer.status_code}.", _by_hand(part))
    if answer.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise HarnessError(f"{file.url}: the server sends it encoded, against what was asked.", _by_hand(part))
    kind = answer.headers.get("Content-Type", "").strip().lower()
    if kind.startswith(("text/html", "application/xhtml")) and not file.name.lower().endswith((".html", ".htm")):
        raise HarnessError(f"{file.url}: the server sends a web page instead of the file.", _by_hand(part))


def _extent(file: RemoteFile, part: Path, have: int, answer: requests.Response) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and the bytes of the whole file, if known.

    Raises:
        _BrokenTransferError: the server sends another part than was asked for.
        HarnessError: its file has another size than is known.
    """
    start, total = 0, None
    if answer.status_code == 206:
        # The length of such an answer is no help: a server may send less than was asked for.
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", "").strip())
        if span is None or int(span[1]) != have:
            _forget(part)
            raise _BrokenTransferError("the server sends another part than was asked for")
        start, total = have, int(span[2])
    elif answer.headers.get("Content-Length", "").isdecimal():
        total = int(answer.headers["Content-Length"])
    if file.size is not None and total not in (None, file.size):
        _forget(part)
        raise HarnessError(
            f"{file.url}: the server's file has {total:,} bytes, but {file.size:,} are known.", _by_hand(part)
        )
    return start, file.size if total is None else total


@contextmanager
def _network(file: RemoteFile) -> Iterator[None]:
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError, HTTPError) as error:
        raise _BrokenTransferError(f"the connection failed ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise HarnessError(f"{file.url} cannot be fetched: {error}.", "Check the address.") from error


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str], policy: DownloadPolicy
) -> Iterator[requests.Response]:
    """The answer at the end of the redirects, each of which is checked."""
    check_address(url)
    for _ in range(policy.redirects + 1):
        try:
            answer = session.get(url, headers=headers, stream=True, timeout=policy.timeout_s, allow_redirects=False)
        except ValueError as error:  # of where it redirects to, too, although that is not followed
            raise HarnessError(f"{url} is or leads to no address: {error}.", "Fetch the file by hand.") from error
        with answer:
            if not answer.is_redirect:
                yield answer
                return
            following = urljoin(url, answer.headers["Location"])
        check_address(following, url)
        url = following
    raise HarnessError(f"{url}: more than {policy.redirects} redirects.", "Fetch the file by hand.")


def _resumable(part: Path, url: str) -> tuple[int, str]:
    """How many bytes are there already, and the mark by which the server knows the file; (0, '') to start over."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
        if note["url"] == url and note["tag"]:
            return part.stat().st_size, str(note["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _note(part: Path, url: str, answer: requests.Response) -> None:
    """Notes what a later try must go on with: without a strong mark it could join two different files."""
    etag = answer.headers.get("ETag", "")
    tag = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
    write_atomically(_note_of(part), json.dumps({"url": url, "tag": tag}))


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _by_hand(part: Path) -> str:
    return f"See the publisher's page, or put the file at {part.with_suffix('')} by hand: it will be checked."


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in record.items():
            _check_name(name)
            if not isinstance(entry["sha256"], str):
                raise TypeError("sha256")
        return dict(record)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HarnessError) as error:
        raise HarnessError(
            f"{path} is corrupt ({type(error).__name__}).", "Delete it; the files' hashes will be recorded anew."
        ) from error


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise HarnessError(f"The file name {name!r} leads out of its folder.", "Do not use this source.")
    if _plain(name) == RECORD:
        raise HarnessError(f"The file name {name!r} is kept for the record of what was fetched.", "Choose another.")


def _plain(name: str) -> str:
    """One spelling for a name: tar archives write './a' for 'a'."""
    return str(PurePosixPath(name))


@dataclass(frozen=True)
class _Member:
    name: str
    plain: bool
    open: Callable[[], IO[bytes] | None]


def _unpacked(folder: Path, archive: str, record: dict[str, Any]) -> bool:
    members = [name for name, entry in record.items() if entry.get("from") == archive]
    return bool(members) and all((folder / name).is_file() for name in members)


def _unpack(path: Path, folder: Path, archive: str, record: dict[str, Any], policy: DownloadPolicy) -> dict[str, Any]:
    """Unpacks an archive's files below the folder: all of them, or none.

    Returns:
        The record with theirs, by name, instead of those that came out of the archive before.

    Raises:
        HarnessError: no archive, or one with links, devices, paths that lead out, an absurd size, or a file that
            would replace another.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as scratch:
            found = _extract(path, Path(scratch), archive, policy)
            for name, entry in found.items():
                _check_free(folder / name, entry["sha256"], record.get(name, {}).get("from") == archive)
            for name in found:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Path(scratch, name).replace(folder / name)
            return {name: entry for name, entry in record.items() if entry.get("from") != archive} | found
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", error.hint) from error
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, and not a decoder's
            raise
        raise HarnessError(f"{path} cannot be unpacked: {error}.", f"Delete {path} and fetch it again.") from error


def _extract(path: Path, scratch: Path, archive: str, policy: DownloadPolicy) -> dict[str, Any]:
    """Writes an archive's files below a new folder.

    Returns:
        Their records, by name.
    """
    room = max(policy.always_allowed, policy.largest_ratio * path.stat().st_size)
    found: dict[str, Any] = {}
    with closing(_members(path)) as members:
        for member in members:
            _check_name(member.name)
            if not member.plain:
                raise HarnessError(f"{member.name!r} is no plain file.", "Do not use this archive.")
            name = _plain(member.name)
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            room = _copy(member, target, room, path)
            found[name] = {"sha256": file_digest(target), "size": target.stat().st_size, "from": archive}
    return found


def _check_free(target: Path, sha256: str, ours: bool) -> None:
    """Refuses to replace what did not come out of the same archive, unless it is the same."""
    if target.exists() and not ours and not (target.is_file() and file_digest(target) == sha256):
        raise HarnessError(f"It would replace {target}, which is another file.", f"Move {target} away.")


def _members(path: Path) -> Generator[_Member, None, None]:
    """One at a time, so that a tar archive is read once, and no further than its first bad member."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                    yield _Member(info.filename, plain, partial(zipped.open, info))
        return
    with tarfile.open(path) as tarred:
        for entry in tarred:
            if not entry.isdir():
                yield _Member(entry.name, entry.isreg(), partial(tarred.extractfile, entry))
        _check_end(tarred)


def _check_end(archive: tarfile.TarFile) -> None:
    """Reads what follows the last member: tarfile takes a spoilt header for the end, and reads no checksum there.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError: the archive is damaged.
    """
    stream = archive.fileobj
    if stream is None:
        raise tarfile.ReadError("it is closed")
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"bad header at byte {archive.offset:,}")
    while stream.read(_CHUNK):
        pass


def _copy(member: _Member, target: Path, room: float, path: Path) -> float:
    """Writes a member, and says how much room is left; counts bytes, not what the archive says of itself."""
    source = member.open()
    if source is None:
        raise HarnessError(f"{member.name!r} cannot be read.", "Fetch it again.")
    with source, target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            room -= len(chunk)
            if room < 0:
                raise HarnessError(
                    f"{member.name!r} unpacks to far more than {path.stat().st_size:,} bytes should.",
                    "Do not use this archive.",
                )
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    target.chmod(0o644)
    return room
