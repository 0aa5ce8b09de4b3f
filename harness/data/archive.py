"""Unpack zip archives of unknown origin: all files or none, and nothing outside the target folder."""

import lzma
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.errors import HarnessError
from harness.storage.files import file_digest

_CHUNK = 2**16
#: Exceptions that zipfile and its decoders raise for a damaged archive, besides OSError.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


@dataclass(frozen=True)
class UnpackedFile:
    """A file that was unpacked from an archive.

    Attributes:
        name: below the target folder.
        sha256: SHA-256 (hex).
        size: in bytes.
    """

    name: str
    sha256: str
    size: int


def unpack(
    path: Path, folder: Path, max_size: float, replaceable: Collection[str], check_name: Callable[[str], None]
) -> list[UnpackedFile]:
    """Unpack a zip archive into a folder: all of its files, or none.

    Args:
        path: the archive.
        folder: the target folder.
        max_size: bytes that the files may have together; counted while unpacking, not read from the archive.
        replaceable: names of existing files that may be replaced.
        check_name: raises HarnessError for names that are not allowed.

    Raises:
        HarnessError: not a zip archive, or one with links, devices, paths outside the folder, more than `max_size`
            bytes, or a file that would replace another one.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as scratch:
            files = _extract(path, Path(scratch), max_size, check_name)
            for file in files:
                if file.name not in replaceable:
                    _check_free(folder / file.name, file.sha256)
            for file in files:
                (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
                Path(scratch, file.name).replace(folder / file.name)
            return files
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", error.hint) from error
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of a decoder
            raise
        raise HarnessError(f"{path} cannot be unpacked: {error}.", f"Delete {path} and fetch it again.") from error


def check_relative(name: str) -> None:
    """Check that a file name stays below its folder.

    Raises:
        HarnessError: it is empty, absolute, or leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
        raise HarnessError(f"The file name {name!r} leads out of its folder.", "Do not use this source.")


def _extract(path: Path, scratch: Path, max_size: float, check_name: Callable[[str], None]) -> list[UnpackedFile]:
    """Extract an archive's files into an empty folder."""
    files = []
    size_left = max_size
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            check_name(member.filename)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
                raise HarnessError(f"{member.filename!r} is not a regular file.", "Do not use this archive.")
            name = str(PurePosixPath(member.filename))  # './a' is 'a'
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            size = _extract_member(archive, member, target, size_left, path)
            size_left -= size
            files.append(UnpackedFile(name, file_digest(target), size))
    return files


def _extract_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, max_size: float, path: Path
) -> int:
    """Write a member to a file; returns its size in bytes."""
    size = 0
    with archive.open(member) as source, target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > max_size:
                raise HarnessError(
                    f"{member.filename!r} unpacks to far more than {path.stat().st_size:,} bytes should.",
                    "Do not use this archive.",
                )
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    target.chmod(0o644)
    return size


def _check_free(target: Path, sha256: str) -> None:
    """Refuse to replace an existing file, unless it has the same content."""
    if target.exists() and not (target.is_file() and file_digest(target) == sha256):
        raise HarnessError(f"It would replace {target}, which is another file.", f"Move {target} away.")
