"""Download data sets from their publishers' public addresses.

Interrupted downloads are resumed; a file gets its final name only after its size and hash were checked. If the
publisher gives no hash, the hash of the first download is recorded and every later one must match it (trust on first
use).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from harness.data.archive import check_relative, unpack
from harness.data.download import DownloadPolicy, RemoteFile, check_content, download
from harness.data.records import ReadProgress, no_read_progress
from harness.errors import HarnessError
from harness.storage.files import check_writable, file_digest, write_atomically

#: The file that records what was fetched into a folder.
RECORD = "fetched.json"


@dataclass(frozen=True)
class Fetched:
    """A file that was downloaded or found, and checked.

    Attributes:
        name, url, sha256: of the file.
        size: in bytes.
        first_use: no hash was known to check it against; from now on, one is recorded.
        already: it existed before.
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


def fetch(
    files: Sequence[RemoteFile],
    folder: Path,
    report: ReadProgress = no_read_progress,
    policy: DownloadPolicy | None = None,
) -> list[Fetched]:
    """Download files into a folder unless they exist, and check all of them.

    An existing file is never replaced; one that was put there by hand is accepted if it has the known hash.

    Returns:
        The files, in the order of `files`.

    Raises:
        HarnessError: no network, a refusal by the server, a file with another size or hash than the known ones, or a
            folder that cannot be written to.
    """
    policy = policy or DownloadPolicy()
    for file in files:
        _check_name(file.name)
    check_writable(folder)
    return [_fetch_one(file, folder, report, policy) for file in files]


def verify(folder: Path, names: Sequence[str] | None = None) -> list[Checked]:
    """Hash fetched and unpacked files again and compare with the record.

    Args:
        folder: the folder of the files.
        names: files to check; an archive includes the files unpacked from it. All if None.

    Returns:
        The files' states, sorted by name.

    Raises:
        HarnessError: the record is missing or corrupt, or lacks one of the names.
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
            unchanged = path.is_file() and file_digest(path) == entry["sha256"]
            checked.append(Checked(name, "ok" if unchanged else "changed" if path.is_file() else "missing"))
    return checked


def _fetch_one(file: RemoteFile, folder: Path, report: ReadProgress, policy: DownloadPolicy) -> Fetched:
    record = _read_record(folder)
    recorded = record.get(file.name, {}).get("sha256")
    known = file.sha256 or recorded
    path = folder / file.name
    with _storage_errors(path):
        already = path.is_file()
        if path.exists() and not already:
            raise HarnessError(f"{path} is not a file.", "Move it away.")
        if already:
            sha256 = file_digest(path)
            check_content(file, path, path.stat().st_size, sha256, known, f"Delete {path} and fetch it again.")
        else:
            hint = (
                "Run the command again; if the result is the same, the publisher changed the file: put the expected "
                f"file at {path} by hand."
            )
            if file.sha256 is None:
                hint += f" To use the new file from now on, delete the entry {file.name!r} in {RECORD} in its folder."
            sha256 = download(file, path, known, hint, report, policy)
        if recorded != sha256:
            record[file.name] = {
                "url": file.url,
                "sha256": sha256,
                "size": path.stat().st_size,
                "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        # Files recorded for another archive of the same name do not count.
        if file.unpack and (recorded != sha256 or not _is_unpacked(folder, file.name, record)):
            record = _unpack(path, folder, file.name, record, policy)
        write_atomically(folder / RECORD, json.dumps(record, indent=1))
        return Fetched(file.name, file.url, sha256, path.stat().st_size, known is None, already)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while a file is written into a `HarnessError`."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"Cannot store {path}: {error.strerror or error}.", "Free some space, or choose another --data-dir."
        ) from error


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
            f"{path} is corrupt ({type(error).__name__}).", "Delete it; the files' hashes will be recorded again."
        ) from error


def _check_name(name: str) -> None:
    check_relative(name)
    if str(PurePosixPath(name)) == RECORD:
        raise HarnessError(f"The file name {name!r} is reserved for the record of fetched files.", "Choose another.")


def _is_unpacked(folder: Path, archive: str, record: dict[str, Any]) -> bool:
    members = [name for name, entry in record.items() if entry.get("from") == archive]
    return bool(members) and all((folder / name).is_file() for name in members)


def _unpack(path: Path, folder: Path, archive: str, record: dict[str, Any], policy: DownloadPolicy) -> dict[str, Any]:
    """Unpack an archive; returns the record with its files, in place of those of an earlier archive of that name."""
    others = {name: entry for name, entry in record.items() if entry.get("from") != archive}
    max_size = max(policy.always_allowed, policy.largest_ratio * path.stat().st_size)
    files = unpack(path, folder, max_size, record.keys() - others.keys(), _check_name)
    return others | {f.name: {"sha256": f.sha256, "size": f.size, "from": archive} for f in files}
