"""Sequences as JSON, already split: `train/val/test.json` map a user's index to item indices in time order, `umap` and
`smap.json` map original ids to indices, `meta_data.json` maps original item ids to their fields.

The file's own split is kept: each user's events in the order train, val, test, one event in val and one in test, is
exactly leave-one-out, and anything else is refused. There are no timestamps.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from harness.data.raw import INTERACTIONS, ITEMS, Findings, RawDomain, Report, silent
from harness.data.reading import missing_file, one_line
from harness.data.sources.source import Source
from harness.errors import HarnessError

_PARTS = ("train", "val", "test")


class SequenceJson(Source):
    """A folder of such files. An item's text is its text fields in order, joined by spaces."""

    source: Literal["sequence-json"] = "sequence-json"
    folder: Path
    text: tuple[str, ...] = ("title",)

    @property
    def timed(self) -> bool:
        """No: see the module."""
        return False

    def files(self, folder: Path) -> Sequence[Path]:
        """The six files."""
        return tuple(folder / self.folder / f"{name}.json" for name in (*_PARTS, "umap", "smap", "meta_data"))

    def open(self, name: str, folder: Path, report: Report = silent) -> RawDomain:
        """See `Source.open`."""
        paths = dict(zip((*_PARTS, "umap", "smap", "meta_data"), self.files(folder), strict=True))
        findings = Findings()
        return RawDomain(
            name,
            _interactions(paths, report),
            lambda wanted: _items(paths["meta_data"], self.text, findings),
            findings,
            timed=False,
        )


def _interactions(paths: dict[str, Path], report: Report) -> Iterable[pa.Table]:
    users, items = _ids(paths["umap"]), _ids(paths["smap"])
    parts = {}
    for done, part in enumerate(_PARTS):
        parts[part] = _sequences(paths[part], users, items)
        report(f"reading {paths[part].name}", done + 1, len(_PARTS))
    _check_split(parts, paths)
    lengths = np.array([sum(len(parts[part][user]) for part in _PARTS) for user in parts["train"]], dtype=np.int64)
    flat = [item for user in parts["train"] for part in _PARTS for item in parts[part][user]]
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    yield pa.table(
        [
            pa.array(np.repeat(np.array([users[user] for user in parts["train"]], dtype=object), lengths), pa.string()),
            pa.array([items[item] for item in flat], pa.string()),
            pa.array(np.arange(len(flat)) - starts),
        ],
        schema=INTERACTIONS,
    )


def _items(path: Path, text: tuple[str, ...], findings: Findings) -> Iterable[pa.Table]:
    meta = _object(path)
    known = {field for record in meta.values() if isinstance(record, dict) for field in record}
    for field in text:
        if meta and field not in known:
            raise HarnessError.unknown(f"field (in {path})", field, known)
    texts = []
    for row, (item, record) in enumerate(meta.items(), start=1):
        if not isinstance(record, dict):
            findings.drop("no record for the item", 1, path, row, item)
            record = {}
        texts.append(one_line(" ".join(str(record[field]) for field in text if record.get(field))))
    yield pa.table([pa.array(list(meta), pa.string()), pa.array(texts, pa.string())], schema=ITEMS)


def _ids(path: Path) -> dict[int, str]:
    """Original id by index."""
    found: dict[int, str] = {}
    for original, index in _object(path).items():
        if type(index) is not int or index < 0:
            raise HarnessError(f"{path}: {original!r} has the index {index!r}.", "Mend the file.")
        if index in found:
            raise HarnessError(f"{path}: {found[index]!r} and {original!r} share the index {index}.", "Mend the file.")
        found[index] = original
    return found


def _sequences(path: Path, users: dict[int, str], items: dict[int, str]) -> dict[int, list[int]]:
    sequences: dict[int, list[int]] = {}
    for row, (user, sequence) in enumerate(_object(path).items(), start=1):
        if not user.isdecimal() or int(user) not in users:
            raise HarnessError(f"{path} entry {row}: user {user!r} is not in umap.json.", "Mend the files.")
        if not isinstance(sequence, list):
            raise HarnessError(f"{path} entry {row}: user {user} has no list of items.", "Mend the file.")
        for item in sequence:
            if type(item) is not int or item not in items:
                raise HarnessError(f"{path} entry {row}: item {item!r} is not in smap.json.", "Mend the files.")
        sequences[int(user)] = sequence
    return sequences


def _check_split(parts: dict[str, dict[int, list[int]]], paths: dict[str, Path]) -> None:
    """The split is leave-one-out: one event of each user in val, one in test, the others before them in train."""
    for part in _PARTS:
        for user in parts["train"].keys() ^ parts[part].keys():
            raise HarnessError(f"{paths[part]}: user {user} is not in all of train, val and test.", "Mend the files.")
    for user, sequence in parts["train"].items():
        for part, found, wanted in (
            ("train", len(sequence) > 0, "at least one event"),
            ("val", len(parts["val"][user]) == 1, "exactly one event"),
            ("test", len(parts["test"][user]) == 1, "exactly one event"),
        ):
            if not found:
                raise HarnessError(
                    f"{paths[part]}: user {user} has not {wanted}: the split is not leave-one-out.",
                    "Use a source that keeps no split, or mend the files.",
                )


def _object(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise missing_file(path) from error
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    except orjson.JSONDecodeError as error:
        raise HarnessError(
            f"{path} line {error.lineno}: no valid JSON: {error.msg}.", "Fetch the file again."
        ) from error
    if not isinstance(value, dict):
        raise HarnessError(f"{path} holds no JSON object.", "Fetch the file again.")
    return value
