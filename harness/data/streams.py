"""Open raw files: decompress them, decode them to UTF-8, and split them into blocks of whole lines."""

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

#: Longest line allowed, in bytes: a file without line ends would fill the memory.
_MAX_LINE = 2**25
#: Bytes read at once.
_BLOCK_SIZE = 2**23

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip", ".zst": "zstd", ".zstd": "zstd"}
#: First bytes of formats that are not supported.
_UNSUPPORTED = {
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
_TAR_MAGIC_OFFSET = 257
#: The longest first: the mark of UTF-32 starts with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
#: Python's text codecs that are not encodings of files.
_NOT_FOR_FILES = {"idna", "punycode", "undefined", "raw-unicode-escape", "unicode-escape", "mbcs", "oem"}


def check_encoding(name: str) -> str:
    """Return Python's canonical name of a text encoding.

    Raises:
        HarnessError: no text encoding has this name.
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
    """Open a file for reading; decompress gzip, bzip2, xz, zstd, and zip archives of one file.

    Yields:
        The decompressed bytes, and a function that returns how many bytes of the file itself have been read.

    Raises:
        HarnessError: the file is missing, broken, an archive of several files, or not compressed despite its name.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise missing_file(path) from error
    with raw, read_errors(path):
        compression = _compression(raw.read(8))
        raw.seek(0)
        named = _SUFFIXES.get(path.suffix)
        if named and compression is None and path.stat().st_size:
            raise HarnessError(f"{path} is not {named}.", "Fetch the file again, or correct the suffix of its name.")
        yield _decompressed(raw, compression, path), raw.tell


def text_blocks(path: Path, encoding: str = "utf-8") -> Iterator[tuple[bytes, int]]:
    r"""Read a file as UTF-8, in blocks of whole lines that end in "\n", with the bytes of the file read so far.

    A byte order mark of UTF-16 or UTF-32 overrides UTF-8, and is left out. Lines may end in "\n", "\r\n", "\r\r\n" or,
    in files without "\n", in "\r"; any other "\r" becomes a space. Bytes that are not of the encoding become bytes
    that are not UTF-8, so that their line is dropped and not the whole file.

    Raises:
        HarnessError: the file is missing or broken, has a line of over 32 MB, or ends within a multi-byte character.
    """
    with open_bytes(path) as (file, position):
        data = file.read(_BLOCK_SIZE)
        _check_text(data, path)
        decode = _decoder(data, encoding)
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
                    yield _normalise_line_ends(text if text.endswith(b"\n") else text + b"\n"), position()
                return
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            if len(rest) > _MAX_LINE:
                row = number + text.count(b"\n")
                raise HarnessError(f"{path} row {row}: the line is longer than 32 MB.", "Check the file's format.")
            if end:
                block = _normalise_line_ends(text[:end])
                number += block.count(b"\n")
                yield block, position()
            data = file.read(_BLOCK_SIZE)


def read_document(path: Path) -> bytes:
    """Read a whole file as UTF-8, decompressed as by `open_bytes`.

    Raises:
        HarnessError: the file is missing, broken, or not of the encoding of its byte order mark.
    """
    with open_bytes(path) as (file, _):
        data = file.read()
        _check_text(data, path)
        return _decoder(data, "utf-8")(data, True).removeprefix(codecs.BOM_UTF8)


def missing_file(path: Path) -> HarnessError:
    """The error of a missing file of a data set."""
    return HarnessError(
        f"No file {path}.",
        "Fetch it, or name its folder: --data-dir or CDSR_DATA for data sets, data_dir in the suite for other files.",
    )


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn the exceptions that libraries raise on a broken file into a `HarnessError`."""
    try:
        yield
    except EOFError as error:
        raise HarnessError(
            f"{path} is truncated: its compressed stream has no end.", "Fetch the file again."
        ) from error
    except UnicodeDecodeError as error:
        raise HarnessError(f"{path}: byte {error.start} is not {error.encoding}.", "Name the encoding.") from error
    except (OSError, pa.ArrowException, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0][:200]
        raise HarnessError(f"{path} cannot be read: {reason}.", "Fetch the file again, or check its format.") from error


def _compression(start: bytes) -> str | None:
    return next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)


def _check_text(start: bytes, path: Path) -> None:
    """Refuse files that are not text, by their first bytes.

    Raises:
        HarnessError: the bytes are those of another format.
    """
    kind = next((kind for magic, kind in _UNSUPPORTED.items() if start.startswith(magic)), None)
    if start[_TAR_MAGIC_OFFSET : _TAR_MAGIC_OFFSET + 5] == b"ustar":
        kind = "a tar archive"
    if (compression := _compression(start)) is not None and compression != "bzip2":  # a text may start with BZh
        kind = f"a {compression} file inside another compressed file"
    if kind:
        raise HarnessError(f"{path} is {kind}, which is not supported.", "Unpack or convert it to text or Parquet.")


def _decompressed(raw: BinaryIO, compression: str | None, path: Path) -> BinaryIO:
    if compression == "gzip":
        return gzip.open(raw)  # type: ignore[return-value]
    if compression == "bzip2":
        return io.BufferedReader(_DecompressedStreams(raw, bz2.BZ2Decompressor), _BLOCK_SIZE)
    if compression == "xz":
        return io.BufferedReader(_DecompressedStreams(raw, lzma.LZMADecompressor), _BLOCK_SIZE)
    if compression == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")  # type: ignore[no-any-return]
    if compression == "zip":
        return _single_member(zipfile.ZipFile(raw), path)
    return raw


def _single_member(archive: zipfile.ZipFile, path: Path) -> BinaryIO:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(repr(member.filename[:40]) for member in members[:3]) or "none"
        raise HarnessError(
            f"{path} is a zip archive of {len(members)} files ({names}), not of one.", "Unpack it and name the file."
        )
    try:
        return archive.open(members[0])  # type: ignore[return-value]
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or of a compression unknown to zipfile
        raise HarnessError(f"{path} cannot be unpacked: {str(error)[:120]}.", "Unpack it yourself.") from error


class _DecompressedStreams(io.RawIOBase):
    """One or more concatenated compressed streams.

    The standard library's files ignore trailing bytes after the last stream; here they are an error, as they may be
    rows.
    """

    def __init__(self, raw: BinaryIO, new_decompressor: Callable[[], Any]) -> None:
        self._raw, self._new_decompressor, self._decompressor = raw, new_decompressor, new_decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            data = b""
            if self._decompressor.eof:
                # xz pads streams with zeros.
                data = (self._decompressor.unused_data or self._raw.read(_BLOCK_SIZE)).lstrip(b"\0")
                if not data:
                    return 0
                self._decompressor = self._new_decompressor()
            elif self._decompressor.needs_input and not (data := self._raw.read(2**16)):
                raise EOFError
            if part := self._decompressor.decompress(data, len(buffer)):
                buffer[: len(part)] = part
                return len(part)


def _decoder(start: bytes, encoding: str) -> Callable[[bytes, bool], bytes]:
    """A function that decodes bytes of the encoding to UTF-8; its second argument is whether they are the last."""
    name = check_encoding(encoding)
    if name == "utf-8":
        name = next((marked for mark, marked in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), name)
    if name in ("utf-8", "utf-8-sig"):
        return lambda data, _: data
    # Both turn undecodable bytes into lone surrogates, which are not valid in UTF-8.
    errors = "surrogatepass" if name.startswith(("utf-16", "utf-32")) else "surrogateescape"
    decoder = codecs.getincrementaldecoder(name)(errors)
    return lambda data, last: decoder.decode(data, last).encode("utf-8", "surrogatepass")


_CR_BEFORE = re.compile(rb"\r+\n")
_CR_AFTER = re.compile(rb"(\A|\n)\r+")


def _normalise_line_ends(block: bytes) -> bytes:
    if b"\r" not in block:
        return block
    block = block.replace(b"\r\n", b"\n")
    if b"\r" in block:
        block = _CR_AFTER.sub(rb"\1", _CR_BEFORE.sub(b"\n", block)).replace(b"\r", b" ")
    return block
