"""The bytes of raw files: decompressed as their first bytes say, as UTF-8, in blocks of whole lines."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from encodings.aliases import aliases
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from harness.errors import HarnessError

#: A line may not be longer, in bytes: a file without line ends would fill the memory.
_LONGEST = 2**25
#: Bytes read at once.
_STEP = 2**23

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip", ".zst": "zstd", ".zstd": "zstd"}
#: What people have that no reader here is for.
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x1f\x9d": "a file of compress (.Z)",
    b"\x04\x22\x4d\x18": "an LZ4 file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"ORC\x08": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3\0": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"\x93NUMPY": "a NumPy array",
}
_TAR = 257  # where a tar archive says that it is one
#: The longest first: UTF-32's begins as UTF-16's does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
#: Codecs for other ends than files of text.
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "raw-unicode-escape", "unicode-escape", "mbcs", "oem"}


def check_encoding(name: str) -> str:
    """The encoding's name as Python writes it.

    Raises:
        HarnessError: no encoding of text has this name.
    """
    try:
        info = codecs.lookup(name)
        if info._is_text_encoding and info.name not in _NOT_FOR_FILES:
            return info.name
    except (LookupError, ValueError):
        pass
    known = {"utf-8", "utf-16", "utf-32", "latin-1", "ascii", *(alias.replace("_", "-") for alias in aliases.values())}
    near = HarnessError.unknown("encoding", name[:40], known).hint.partition("Known:")[0]
    raise HarnessError(
        f"Unknown encoding {name[:40]!r}.", f"{near}Name one that Python knows, such as utf-8, utf-16 or latin-1."
    )


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
    """The bytes of a file, decompressed if it is gzip, bzip2, xz, zstd or a zip archive of one file, and a function
    that tells how much of the file has been read.

    Raises:
        HarnessError: no such file, broken, no archive of one file, or not compressed though its name says so.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise missing_file(path) from error
    with raw, readable(path):
        kind = _kind(raw.read(8))
        raw.seek(0)
        promised = _SUFFIXES.get(path.suffix)
        if promised and kind is None and path.stat().st_size:
            raise HarnessError(f"{path} is not {promised}.", "Fetch the file again, or name it for what it is.")
        yield _decompressed(raw, kind, path), raw.tell


def text_blocks(path: Path, encoding: str = "utf-8") -> Iterator[tuple[bytes, int]]:
    r"""The text of a file as UTF-8, in blocks of whole lines that end in "\n", with the bytes of the file read so far.

    A mark at the start of the file that says UTF-16 or UTF-32 overrides UTF-8, and is left out. Lines may end in
    "\n", "\r\n", "\r\r\n" or, where there is no "\n", in "\r"; any other "\r" is a space. What is not of the encoding
    becomes bytes that are no UTF-8, so that it costs its line and not the file.

    Raises:
        HarnessError: no such file, broken, a line of over 32 MB, or text of a multi-byte encoding that breaks off.
    """
    with open_bytes(path) as (file, position):
        data = file.read(_STEP)
        decode = _decoder(_of_text(data, path), encoding)
        rest, number, only_cr = b"", 1, False
        while True:
            text = rest + decode(data, not data)
            if number == 1 and not rest:
                text = text.removeprefix(codecs.BOM_UTF8)
                only_cr = b"\n" not in text and b"\r" in text
            if only_cr:
                text = text.replace(b"\r", b"\n")
            if not data:
                if text := text.rstrip(b"\r"):
                    yield _plain_lines(text if text.endswith(b"\n") else text + b"\n"), position()
                return
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > _LONGEST:
                row = number + text.count(b"\n")
                raise HarnessError(f"{path} row {row}: the line is longer than 32 MB.", "Check what the file is.")
            if end:
                block = _plain_lines(text[:end])
                number += block.count(b"\n")
                yield block, position()
            data = file.read(_STEP)


def read_document(path: Path) -> bytes:
    """The whole text of a file as UTF-8, decompressed as `open_bytes` does.

    Raises:
        HarnessError: no such file, broken, or not of the encoding that its first bytes say.
    """
    with open_bytes(path) as (file, _):
        data = file.read()
        return _decoder(_of_text(data, path), "utf-8")(data, True).removeprefix(codecs.BOM_UTF8)


def missing_file(path: Path) -> HarnessError:
    """The error that a file of a data set is not there."""
    return HarnessError(
        f"No file {path}.",
        "Fetch it, or name its folder: --data-dir or CDSR_DATA for data sets, data_dir in the suite for other files.",
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what libraries raise on a broken file into a line for people."""
    try:
        yield
    except EOFError as error:
        raise HarnessError(
            f"{path} is cut short: its compressed stream has no end.", "Fetch the file again."
        ) from error
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: byte {error.start} is not {error.encoding}.", "Name the encoding.") from error
    except (OSError, pa.ArrowException, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0][:200]
        raise HarnessError(f"{path} cannot be read: {reason}.", "Fetch the file again, or check its format.") from error


def _kind(start: bytes) -> str | None:
    return next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)


def _of_text(start: bytes, path: Path) -> bytes:
    """The same bytes, if they may be of a text.

    Raises:
        HarnessError: they are of something else.
    """
    what = next((what for magic, what in _OTHERS.items() if start.startswith(magic)), None)
    if start[_TAR : _TAR + 5] == b"ustar":
        what = "a tar archive"
    if (kind := _kind(start)) is not None and kind != "bzip2":  # a text may begin with BZh
        what = f"a {kind} file inside another compressed file"
    if what:
        raise HarnessError(f"{path} is {what}, which is not read here.", "Unpack or convert it to text or Parquet.")
    return start


def _decompressed(raw: BinaryIO, kind: str | None, path: Path) -> BinaryIO:
    if kind == "gzip":
        return gzip.open(raw)  # type: ignore[return-value]
    if kind == "bzip2":
        return io.BufferedReader(_Decompressed(raw, bz2.BZ2Decompressor), _STEP)
    if kind == "xz":
        return io.BufferedReader(_Decompressed(raw, lzma.LZMADecompressor), _STEP)
    if kind == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")  # type: ignore[no-any-return]
    if kind == "zip":
        return _only_member(zipfile.ZipFile(raw), path)
    return raw


def _only_member(archive: zipfile.ZipFile, path: Path) -> BinaryIO:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(repr(member.filename[:40]) for member in members[:3]) or "none"
        raise HarnessError(
            f"{path} is a zip archive of {len(members)} files ({names}), not of one.", "Unpack it, and name the file."
        )
    try:
        return archive.open(members[0])  # type: ignore[return-value]
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed in a way that zipfile does not know
        raise HarnessError(f"{path} cannot be unpacked: {str(error)[:120]}.", "Unpack it yourself.") from error


class _Decompressed(io.RawIOBase):
    """One or more compressed streams, one after the other. The standard library's files pass over what follows the
    last whole stream; here it is an error, as it may be rows."""

    def __init__(self, raw: BinaryIO, new: Callable[[], Any]) -> None:
        self._raw, self._new, self._stream = raw, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self._stream.eof:
                # xz pads streams with zeros.
                data = (self._stream.unused_data or self._raw.read(_STEP)).lstrip(b"\0")
                if not data:
                    return 0
                self._stream = self._new()
            elif self._stream.needs_input and not (data := self._raw.read(2**16)):
                raise EOFError
            if part := self._stream.decompress(data, len(buffer)):
                buffer[: len(part)] = part
                return len(part)


def _decoder(start: bytes, encoding: str) -> Callable[[bytes, bool], bytes]:
    """From bytes of the encoding, and whether they are the last, to UTF-8."""
    name = check_encoding(encoding)
    if name == "utf-8":
        name = next((marked for mark, marked in _MARKS.items() if start.startswith(mark)), name)
    if name in ("utf-8", "utf-8-sig"):
        return lambda data, _: data
    # Both leave lone surrogates for what cannot be decoded, which are no UTF-8.
    errors = "surrogatepass" if name.startswith(("utf-16", "utf-32")) else "surrogateescape"
    decoder = codecs.getincrementaldecoder(name)(errors)
    return lambda data, last: decoder.decode(data, last).encode("utf-8", "surrogatepass")


_CR_BEFORE = re.compile(rb"\r+\n")
_CR_AFTER = re.compile(rb"(\A|\n)\r+")


def _plain_lines(block: bytes) -> bytes:
    if b"\r" not in block:
        return block
    block = block.replace(b"\r\n", b"\n")
    if b"\r" in block:
        block = _CR_AFTER.sub(rb"\1", _CR_BEFORE.sub(b"\n", block)).replace(b"\r", b" ")
    return block
