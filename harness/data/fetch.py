"""Downloading data sets from their publishers' public addresses.

What was cut off goes on where it stopped; nothing takes its final name before its size and hash were checked. Where the
publisher gives no hash, that of the first download is recorded and every later one must have it (trust on first use).
"""

import json
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

from harness.data.raw import Report, silent
from harness.errors import HarnessError
from harness.files import check_writable, file_digest, write_atomically

RECORD = "fetched.json"
#: What a dropped connection may cost, in bytes.
_CHUNK = 2**16


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: http or https.
        name: where it goes, below the folder.
        sha256: where it is known beforehand.
        unpack: whether it is a zip or tar archive to unpack into the folder.
    """

    url: str
    name: str
    sha256: str | None = None
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
class Manners:
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
    files: Sequence[RemoteFile], folder: Path, report: Report = silent, manners: Manners | None = None
) -> list[Fetched]:
    """Downloads files into a folder, unless they are there; checks all of them.

    Raises:
        HarnessError: no network, a refusal, a file that is not what it should be, a folder that cannot be written.
    """
    manners = manners or Manners()
    for file in files:
        _check_name(file.name)
    check_writable(folder)
    fetched = []
    for file in files:
        record = _read_record(folder)
        known = file.sha256 or record.get(file.name, {}).get("sha256")
        path = folder / file.name
        already = path.is_file()
        sha256 = file_digest(path) if already else _download(file, path, known, report, manners)
        if known not in (None, sha256):
            raise _changed(path, file, str(known), sha256)
        if file.unpack and not _unpacked(folder, file.name, record):
            record |= _unpack(path, folder, file.name, manners)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        first = {"url": file.url, "sha256": sha256, "size": path.stat().st_size, "fetched": now}
        write_atomically(folder / RECORD, json.dumps(record | {file.name: record.get(file.name, first)}, indent=1))
        fetched.append(Fetched(file.name, file.url, sha256, path.stat().st_size, known is None, already))
    return fetched


def verify(folder: Path) -> list[Checked]:
    """Hashes every recorded file again, unpacked ones too.

    Raises:
        HarnessError: the record is missing or corrupt.
    """
    if not (folder / RECORD).is_file():
        raise HarnessError(f"No file {folder / RECORD}.", "Fetch the data with: harness data fetch.")
    checked = []
    for name, entry in sorted(_read_record(folder).items()):
        path = folder / name
        same = path.is_file() and file_digest(path) == entry["sha256"]
        checked.append(Checked(name, "ok" if same else "changed" if path.is_file() else "missing"))
    return checked


def check_address(url: str, base: str | None = None) -> None:
    """Refuses addresses that are not http or https, and redirects from https down to http.

    Raises:
        HarnessError: such an address.
    """
    scheme = urlsplit(url).scheme
    if scheme not in ("http", "https"):
        raise HarnessError(f"{base or url} leads to {url}, which is no http address.", "Fetch the file by hand.")
    if base is not None and urlsplit(base).scheme == "https" and scheme == "http":
        raise HarnessError(f"{base} redirects to the unprotected {url}.", "Fetch the file by hand.")


def _download(file: RemoteFile, path: Path, known: str | None, report: Report, manners: Manners) -> str:
    """Downloads to `.part`, checks, and gives it its name.

    Returns:
        The file's SHA-256.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_BrokenTransferError),
        stop=tenacity.stop_after_attempt(manners.tries),
        wait=tenacity.wait_exponential(multiplier=manners.wait_s, max=60),
        reraise=True,
    )
    try:
        with requests.Session() as session:
            for attempt in retrying:
                with attempt:
                    _transfer(session, file, part, report, manners)
    except _BrokenTransferError as error:
        raise HarnessError(
            f"{file.url}: {error}, after {manners.tries} tries.",
            f"Run the command again, it goes on where it stopped; or put the file at {path} by hand.",
        ) from error
    sha256 = file_digest(part)
    if known not in (None, sha256):
        _forget(part)
        raise _changed(path, file, str(known), sha256)
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)
    _forget(part)
    return sha256


def _transfer(session: requests.Session, file: RemoteFile, part: Path, report: Report, manners: Manners) -> None:
    """One try: asks for what is not there yet, and appends it.

    Raises:
        _BrokenTransferError: it may go better the next time.
        HarnessError: it will not.
    """
    have, tag = _resumable(part, file.url)
    headers = {"Accept-Encoding": "identity"}  # or a .gz might be unzipped on the way
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with _network(file), _answer(session, file.url, headers, manners) as answer:
        if answer.status_code == 416:  # the part is as long as the file, or the file is another
            _forget(part)
            raise _BrokenTransferError("the server refused to go on")
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise _BrokenTransferError(f"the server answers {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise HarnessError(f"{file.url}: the server answers {answer.status_code}.", _by_hand(part))
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise HarnessError(f"{file.url}: the server sends it encoded, against what was asked.", _by_hand(part))
        kind = answer.headers.get("Content-Type", "")
        if kind.startswith("text/html") and not file.name.endswith((".html", ".htm")):
            raise HarnessError(f"{file.url}: the server sends a web page instead of the file.", _by_hand(part))
        start = have if answer.status_code == 206 else 0
        if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _forget(part)
            raise _BrokenTransferError("the server sends another part than was asked for")
        _note(part, file.url, answer)
        total = _total(answer, start)
        done = start
        with part.open("ab" if start else "wb") as out:
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                report(f"fetching {file.name}", done, total)
        if total is not None and done != total:
            raise _BrokenTransferError(f"the transfer ended after {done:,} of {total:,} bytes")


@contextmanager
def _network(file: RemoteFile) -> Iterator[None]:
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError, HTTPError) as error:
        raise _BrokenTransferError(f"the connection failed ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise HarnessError(f"{file.url} cannot be fetched: {error}.", "Check the address.") from error
    except OSError as error:
        raise HarnessError(
            f"Cannot write {file.name}: {error.strerror or error}.", "Free some space, or choose another --data-dir."
        ) from error


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str], manners: Manners
) -> Iterator[requests.Response]:
    """The answer at the end of the redirects, each of which is checked."""
    check_address(url)
    for _ in range(manners.redirects + 1):
        answer = session.get(url, headers=headers, stream=True, timeout=manners.timeout_s, allow_redirects=False)
        with answer:
            if not answer.is_redirect:
                yield answer
                return
            following = urljoin(url, answer.headers["Location"])
        check_address(following, url)
        url = following
    raise HarnessError(f"{url}: more than {manners.redirects} redirects.", "Fetch the file by hand.")


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


def _total(answer: requests.Response, start: int) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _by_hand(part: Path) -> str:
    return f"See the publisher's page, or put the file at {part.with_suffix('')} by hand: it will be checked."


def _changed(path: Path, file: RemoteFile, known: str, found: str) -> HarnessError:
    return HarnessError(
        f"{path} from {file.url} has the SHA-256 {found}, but {known} is known.",
        "Somebody changed it. Results on it would not be comparable; get the file that is known.",
    )


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(
            f"{path} is corrupt ({type(error).__name__}).", "Delete it; the files' hashes will be recorded anew."
        ) from error


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise HarnessError(f"The file name {name!r} leads out of its folder.", "Do not use this source.")


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def _unpacked(folder: Path, archive: str, record: dict[str, Any]) -> bool:
    members = [name for name, entry in record.items() if entry.get("from") == archive]
    return bool(members) and all((folder / name).is_file() for name in members)


def _unpack(path: Path, folder: Path, archive: str, manners: Manners) -> dict[str, Any]:
    """Unpacks an archive's files below the folder: all of them, or none.

    Returns:
        Their records, by name.

    Raises:
        HarnessError: no archive, or one with links, devices, paths that lead out, or an absurd size.
    """
    try:
        with _members(path) as members, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as scratch:
            room = max(manners.always_allowed, manners.largest_ratio * path.stat().st_size)
            record: dict[str, Any] = {}
            for member in members:
                _check_name(member.name)
                target = Path(scratch, member.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                room = _copy(member, target, room, path)
                record[member.name] = {"sha256": file_digest(target), "size": member.size, "from": archive}
            for name in record:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Path(scratch, name).replace(folder / name)
            return record
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", error.mend) from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise HarnessError(f"{path} cannot be unpacked: {error}.", "Fetch it again.") from error


@contextmanager
def _members(path: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            infos = [info for info in zipped.infolist() if not info.is_dir()]
            for info in infos:
                _check_plain(info.filename, stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG))
            yield [_Member(info.filename, info.file_size, partial(zipped.open, info)) for info in infos]
        return
    with tarfile.open(path) as tarred:
        found = [info for info in tarred.getmembers() if not info.isdir()]
        for entry in found:
            _check_plain(entry.name, entry.isreg())
        yield [_Member(entry.name, entry.size, partial(tarred.extractfile, entry)) for entry in found]


def _check_plain(name: str, plain: bool) -> None:
    if not plain:
        raise HarnessError(f"{name!r} is no plain file.", "Do not use this archive.")


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
    return room
