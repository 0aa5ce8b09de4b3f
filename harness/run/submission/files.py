"""The files of a submission: what a folder may hold, before any of it is parsed.

A submission comes from strangers. Nothing here follows a link, unpickles or unpacks anything.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.results.files import ITEMS, USERS
from harness.results.submission import CARD, MANIFEST, Card, Submission, read_card, read_manifest
from harness.storage.files import file_digest

_MEGABYTE = 10**6
#: Largest files, in bytes, by suffix; those with other suffixes are refused.
MAX_BYTES = {".json": 4 * _MEGABYTE, ".yaml": _MEGABYTE // 10, ".parquet": 64 * _MEGABYTE}
MAX_TOTAL_BYTES = 512 * _MEGABYTE
MAX_FILES = 5000
#: Largest Parquet file when it is unpacked.
MAX_UNPACKED_BYTES = 512 * _MEGABYTE

_SHARED_COLUMNS = {USERS: {"user_id", "item_id"}, ITEMS: {"item_id", "training_interactions"}}
_LISTS_COLUMNS = {"items"}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}")
_REMOVE = "Remove it."
_PACK = "Pack it again by: harness submit."


@dataclass(frozen=True)
class SubmittedFiles:
    """A folder whose files are those of its manifest.

    Attributes:
        folder: of the submission.
        manifest: its manifest.
        card: its card.
        results: paths of its result files.
    """

    folder: Path
    manifest: Submission
    card: Card
    results: tuple[Path, ...]


def check_files(folder: Path) -> SubmittedFiles:
    """Check the names, kinds, sizes and digests of the files of a submission, its manifest and its card.

    Raises:
        HarnessError: the first fault; the message names the file.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise HarnessError(f"{folder}: not a folder.", "Name the folder of a submission.")
    found = _walk(folder)
    manifest = read_manifest(folder / MANIFEST)
    place = folder.absolute().parts[-3:]
    if place != (manifest.suite, f"v{manifest.suite_version}", manifest.method):
        raise HarnessError(
            f"{folder / MANIFEST}: it is of {manifest.method} on {manifest.id}, but in the folder {'/'.join(place)}.",
            f"Move the folder to submissions/{manifest.id}/{manifest.method}.",
        )
    _check_listed(folder, manifest, found)
    card = read_card(folder / CARD)
    if card.method != manifest.method:
        raise HarnessError(
            f"{folder / CARD}: method: {card.method!r}, but the results are of {manifest.method!r}.", "Correct it."
        )
    results = _check_places(folder, manifest)
    for path in (folder / name for name in found if name.endswith(".parquet")):
        _check_parquet(path)
    return SubmittedFiles(folder, manifest, card, results)


def _walk(folder: Path) -> dict[str, int]:
    """Path, with `/`, and size in bytes of each file below a folder.

    Raises:
        HarnessError: a link, a special file, an odd name, a format that is not read, or too much.
    """
    found: dict[str, int] = {}
    pending = [PurePosixPath()]
    while pending:
        relative = pending.pop()
        for entry in sorted(os.scandir(folder / relative), key=lambda entry: entry.name):
            name = relative / entry.name
            path = folder / name
            mode = entry.stat(follow_symlinks=False).st_mode
            if not _PART.fullmatch(entry.name):
                raise HarnessError(f"{path}: an odd name.", "Use letters, digits and . _ + -, none of . _ + - first.")
            if stat.S_ISDIR(mode):
                if len(name.parts) > 1:
                    raise HarnessError(f"{path}: a folder inside that of a scenario.", _REMOVE)
                pending.append(name)
                continue
            if not stat.S_ISREG(mode):
                kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
                raise HarnessError(f"{path}: {kind}.", "Put the file itself in its place.")
            size = entry.stat(follow_symlinks=False).st_size
            limit = MAX_BYTES.get(name.suffix)
            if limit is None:
                raise HarnessError(
                    f"{path}: only {', '.join(MAX_BYTES)} files are read, never pickles, archives or code.", _REMOVE
                )
            if size > limit:
                raise HarnessError(f"{path}: {size:,} bytes, more than {limit:,}.", "Make it smaller.")
            if mode & 0o111:
                raise HarnessError(f"{path}: an executable file.", "Run: chmod -x on it.")
            found[str(name)] = size
            if len(found) > MAX_FILES or sum(found.values()) > MAX_TOTAL_BYTES:
                raise HarnessError(
                    f"{folder}: more than {MAX_FILES:,} files or {MAX_TOTAL_BYTES:,} bytes.", "Submit fewer results."
                )
    return found


def _check_listed(folder: Path, manifest: Submission, found: dict[str, int]) -> None:
    """Check that the files are those of the manifest, byte by byte."""
    listed = {file.path: file for file in manifest.files}
    for name in listed:
        if name not in found:
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name:
                raise HarnessError(
                    f"{folder / MANIFEST}: files: {name!r} leads out of the folder.", "Name files of the folder."
                )
            raise HarnessError(f"{folder / name}: missing, but {MANIFEST} lists it.", "Restore it, or pack again.")
    for name in found:
        if name != MANIFEST and name not in listed:
            raise HarnessError(f"{folder / name}: {MANIFEST} does not list it.", _REMOVE)
    if MANIFEST in listed:
        raise HarnessError(f"{folder / MANIFEST}: files: it lists itself.", _PACK)
    for name, file in listed.items():
        if file.bytes != found[name] or file.sha256 != file_digest(folder / name):
            raise HarnessError(f"{folder / name}: not the file whose SHA-256 {MANIFEST} holds.", _PACK)


def _check_places(folder: Path, manifest: Submission) -> tuple[Path, ...]:
    """Check that each file has a place in a submission; give the paths of the result files."""
    method = re.escape(manifest.method)
    of_result = re.compile(rf"({method}-seed(?:0|[1-9]\d{{0,9}}))(\.json|\.parquet|\.lists\.parquet)")
    names = {file.path for file in manifest.files}
    results = []
    for name in sorted(names - {CARD}):
        *parents, last = PurePosixPath(name).parts
        match = of_result.fullmatch(last)
        if len(parents) != 1 or (match is None and last not in (USERS, ITEMS)):
            raise HarnessError(
                f"{folder / name}: no file of a submission of {manifest.method}.",
                f"A scenario's folder holds {USERS}, {ITEMS} and {manifest.method}-seed<k> with its suffixes.",
            )
        if match is not None and f"{parents[0]}/{match[1]}.json" not in names:
            raise HarnessError(f"{folder / name}: its result {match[1]}.json is missing.", _PACK)
        if last in (USERS, ITEMS) and not any(other.startswith(f"{parents[0]}/{manifest.method}-") for other in names):
            raise HarnessError(f"{folder / name}: no result of its scenario is there.", _REMOVE)
        if last.endswith(".json"):
            results.append(folder / name)
    if CARD not in names:
        raise HarnessError(f"{folder / CARD}: missing.", _PACK)
    if not results:
        raise HarnessError(f"{folder}: it holds no result.", _PACK)
    return tuple(results)


def _check_parquet(path: Path) -> None:
    """Check the size and the columns of a Parquet file by its footer, before the content is read.

    Raises:
        HarnessError: it is no Parquet file, too large, or has other columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            columns = set(file.schema_arrow.names)
            unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise HarnessError(f"{path}: not a Parquet file ({type(error).__name__}).", _PACK) from error
    if unpacked > MAX_UNPACKED_BYTES or metadata.num_rows > MAX_UNPACKED_BYTES:
        raise HarnessError(f"{path}: {unpacked:,} bytes when unpacked.", "Make it smaller.")
    expected = _LISTS_COLUMNS if path.name.endswith(".lists.parquet") else _SHARED_COLUMNS.get(path.name)
    if expected is not None and columns != expected:
        odd = ", ".join(sorted(columns ^ expected))
        raise HarnessError(f"{path}: its columns are not {', '.join(sorted(expected))} ({odd}).", _PACK)
