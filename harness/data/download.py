"""Download one file over HTTP: resume, retry, check redirects, sizes and hashes."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import tenacity
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from urllib3.exceptions import HTTPError

from harness.data.records import ReadProgress
from harness.errors import HarnessError
from harness.storage.files import file_digest, write_atomically

#: Bytes received at once, and at most lost when a connection drops.
_CHUNK = 2**16


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: http or https.
        name: its path below the folder.
        sha256: if known beforehand.
        size: in bytes, if known beforehand.
        unpack: whether it is a zip archive to unpack into the folder.
    """

    url: str
    name: str
    sha256: str | None = None
    size: int | None = None
    unpack: bool = False


@dataclass(frozen=True)
class DownloadPolicy:
    """Limits for servers and archives.

    Attributes:
        tries: attempts for each file.
        wait_s: seconds before the second attempt; doubled before each further one.
        timeout_s: seconds without receiving any byte.
        redirects: maximum number of redirects.
        largest_ratio: archives that unpack to more than this many times their size, and to more than
            `always_allowed` bytes, are refused.
        always_allowed: in bytes.
    """

    tries: int = 5
    wait_s: float = 1.0
    timeout_s: float = 30.0
    redirects: int = 5
    largest_ratio: float = 200.0
    always_allowed: int = 2**30


class _BrokenTransferError(Exception):
    """A failed transfer that is worth another attempt."""


def download(
    file: RemoteFile, path: Path, known: str | None, hint: str, report: ReadProgress, policy: DownloadPolicy
) -> str:
    """Download to a `.part` file, check it, and rename it.

    Args:
        file: the file.
        path: where to put it.
        known: its SHA-256, if known.
        hint: what to do if its size or hash is not the known one.
        report: called with the bytes received.
        policy: limits and retries.

    Returns:
        The file's SHA-256.

    Raises:
        HarnessError: the file cannot be downloaded, or has another size or hash than the known one.
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
            f"Run the command again to resume the download, or put the file at {path} by hand: it will be checked.",
        ) from error
    sha256 = file_digest(part)
    try:
        check_content(file, path, part.stat().st_size, sha256, known, hint)
    except HarnessError:
        _remove_part(part)
        raise
    with part.open("rb") as downloaded:
        os.fsync(downloaded.fileno())
    part.replace(path)
    _remove_part(part)
    return sha256


def check_content(file: RemoteFile, path: Path, size: int, sha256: str, known: str | None, hint: str) -> None:
    """Check a file against its known size and hash.

    Raises:
        HarnessError: they differ.
    """
    if known not in (None, sha256):
        raise HarnessError(
            f"{path} from {file.url} has the SHA-256 {sha256}, expected {known}.",
            f"Results on it would not be comparable. {hint}",
        )
    if file.size not in (None, size):
        raise HarnessError(f"{path} from {file.url} has {size:,} bytes, expected {file.size:,}.", hint)


def check_address(url: str, base: str | None = None) -> None:
    """Check that an address is http or https, and that https does not redirect to http.

    Args:
        url: the address.
        base: the address that redirects to it, if any.

    Raises:
        HarnessError: another address.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        raise HarnessError(f"{base or url} leads to {url}, not an http address.", "Fetch the file by hand.")
    if base is not None and urlsplit(base).scheme == "https" and scheme == "http":
        raise HarnessError(f"{base} redirects to the unprotected {url}.", "Fetch the file by hand.")


def _transfer(
    session: requests.Session, file: RemoteFile, part: Path, report: ReadProgress, policy: DownloadPolicy
) -> None:
    """Make one attempt: request the missing bytes and append them.

    Raises:
        _BrokenTransferError: another attempt may succeed.
        HarnessError: another attempt will not succeed.
    """
    received, validator = _resume_point(part, file.url)
    headers = {"Accept-Encoding": "identity"}  # otherwise a .gz might be decompressed on the way
    if received:
        headers |= {"Range": f"bytes={received}-", "If-Range": validator}
    with _network_errors(file), _response(session, file.url, headers, policy) as response:
        # The last attempt ended between the last byte and the check.
        if response.status_code == 416 and received and response.headers.get("Content-Range") == f"bytes */{received}":
            return
        _check_response(file, part, response)
        start, total = _extent(file, part, received, response)
        if not start:
            # Before the new validator is stored: it must never be next to an older file's bytes.
            _remove_part(part)
        _store_validator(part, file.url, response)
        done = start
        with part.open("ab" if start else "wb") as out:
            for chunk in response.iter_content(_CHUNK):
                done += len(chunk)
                if total is not None and done > total:
                    break
                out.write(chunk)
                report(f"fetching {file.name}", done, total)
    if total is not None and done > total:
        _remove_part(part)
        raise HarnessError(f"{file.url}: the server sends more than {total:,} bytes.", _by_hand(part))
    if total is not None and done != total:
        raise _BrokenTransferError(f"the transfer ended after {done:,} of {total:,} bytes")


def _check_response(file: RemoteFile, part: Path, response: requests.Response) -> None:
    """Refuse responses that do not contain the file.

    Raises:
        _BrokenTransferError: another attempt may succeed.
        HarnessError: another attempt will not succeed.
    """
    if response.status_code == 416:  # the server has another file now, or the part is damaged
        _remove_part(part)
        raise _BrokenTransferError("the server refused to resume")
    if response.status_code in (408, 425, 429) or response.status_code >= 500:
        raise _BrokenTransferError(f"the server answers {response.status_code}")
    if response.status_code not in (200, 206):
        raise HarnessError(f"{file.url}: the server answers {response.status_code}.", _by_hand(part))
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise HarnessError(f"{file.url}: the server sends it encoded, though not asked to.", _by_hand(part))
    content_type = response.headers.get("Content-Type", "").strip().lower()
    is_page = content_type.startswith(("text/html", "application/xhtml"))
    if is_page and not file.name.lower().endswith((".html", ".htm")):
        raise HarnessError(f"{file.url}: the server sends a web page instead of the file.", _by_hand(part))


def _extent(file: RemoteFile, part: Path, received: int, response: requests.Response) -> tuple[int, int | None]:
    """The offset of the response's first byte in the file, and the size of the whole file, if known.

    Raises:
        _BrokenTransferError: the server sends another range than the requested one.
        HarnessError: the server's file has another size than the known one.
    """
    start, total = 0, None
    if response.status_code == 206:
        # Content-Length does not give the file's size: a server may send less than was requested.
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
        if span is None or int(span[1]) != received:
            _remove_part(part)
            raise _BrokenTransferError("the server sends another range than the requested one")
        start, total = received, int(span[2])
    elif response.headers.get("Content-Length", "").isdecimal():
        total = int(response.headers["Content-Length"])
    if file.size is not None and total not in (None, file.size):
        _remove_part(part)
        raise HarnessError(
            f"{file.url}: the server's file has {total:,} bytes, expected {file.size:,}.", _by_hand(part)
        )
    return start, file.size if total is None else total


@contextmanager
def _network_errors(file: RemoteFile) -> Iterator[None]:
    """Turn exceptions of requests into `_BrokenTransferError` or `HarnessError`."""
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError, HTTPError) as error:
        raise _BrokenTransferError(f"the connection failed ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise HarnessError(f"{file.url} cannot be fetched: {error}.", "Check the address.") from error


@contextmanager
def _response(
    session: requests.Session, url: str, headers: dict[str, str], policy: DownloadPolicy
) -> Iterator[requests.Response]:
    """The response at the end of the redirects, each of which is checked."""
    check_address(url)
    for _ in range(policy.redirects + 1):
        try:
            response = session.get(url, headers=headers, stream=True, timeout=policy.timeout_s, allow_redirects=False)
        except ValueError as error:  # raised for an invalid redirect too, although it is not followed
            raise HarnessError(f"{url} is not or does not lead to an address: {error}.", "Fetch it by hand.") from error
        with response:
            if not response.is_redirect:
                yield response
                return
            target = urljoin(url, response.headers["Location"])
        check_address(target, url)
        url = target
    raise HarnessError(f"{url}: more than {policy.redirects} redirects.", "Fetch the file by hand.")


def _resume_point(part: Path, url: str) -> tuple[int, str]:
    """The number of bytes received already, and the validator of the server's file; (0, '') to start over."""
    try:
        stored = json.loads(_validator_path(part).read_text(encoding="utf-8"))
        if stored["url"] == url and stored["tag"]:
            return part.stat().st_size, str(stored["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _store_validator(part: Path, url: str, response: requests.Response) -> None:
    """Store the validator of the server's file: without a strong one, a later attempt could join two files."""
    etag = response.headers.get("ETag", "")
    tag = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    write_atomically(_validator_path(part), json.dumps({"url": url, "tag": tag}))


def _validator_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remove_part(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_path(part).unlink(missing_ok=True)


def _by_hand(part: Path) -> str:
    return f"See the publisher's page, or put the file at {part.with_suffix('')} by hand: it will be checked."
