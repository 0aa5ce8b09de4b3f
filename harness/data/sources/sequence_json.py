"""Sequences as JSON, already split: `train/val/test.json` map a user's index to item indices in time order, `umap` and
`smap.json` map original ids to indices, `meta_data.json` maps original item ids to their fields.

The files' own split is kept: each user's events in the order train, val, test, one event in val and one in test, is
exactly leave-one-out. A user without a validation or a test event only trains; anything else is refused. There are no
timestamps.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from harness.data.cleaning import joined
from harness.data.readers import text_of
from harness.data.records import INTERACTIONS, ITEMS, Findings, RawDomain, ReadProgress, no_read_progress, shortened
from harness.data.sources.source import Source, added
from harness.data.streams import read_document
from harness.errors import HarnessError

_PARTS = ("train", "val", "test")


class SequenceJson(Source):
    """A folder of such files. An item's text is its text fields in order, joined by spaces."""

    source: Literal["sequence-json"] = "sequence-json"
    folder: Path
    text: tuple[str, ...] = ("title",)
    clean_html: bool = added(False)

    @property
    def timed(self) -> bool:
        """No: see the module."""
        return False

    def files(self, folder: Path) -> Sequence[Path]:
        """The six files."""
        return tuple(folder / self.folder / f"{name}.json" for name in (*_PARTS, "umap", "smap", "meta_data"))

    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """See `Source.open`."""
        paths = dict(zip((*_PARTS, "umap", "smap", "meta_data"), self.files(folder), strict=True))
        findings = Findings()
        train_only: set[str] = set()
        return RawDomain(
            name,
            _interactions(paths, findings, train_only, report),
            lambda wanted: _items(paths["meta_data"], self.text, findings, self.clean_html),
            findings,
            timed=False,
            has_text=bool(self.text),
            train_only=train_only,
        )


def _interactions(
    paths: dict[str, Path], findings: Findings, train_only: set[str], report: ReadProgress
) -> Iterable[pa.Table]:
    users, items = _ids(paths["umap"]), _ids(paths["smap"])
    parts = {}
    for done, part in enumerate(_PARTS):
        parts[part] = _sequences(paths[part], users, items)
        report(f"reading {paths[part].name}", done + 1, len(_PARTS))
    for user in _check_split(parts, paths):
        train_only.add(users[user])
        for row, part in enumerate(("val", "test"), start=1):
            if events := parts[part].pop(user, []):
                reason = "held out of a user without the other held-out event"
                findings.drop(reason, len(events), paths[part], row, f"user {user}")
    sequences = {user: [item for part in _PARTS for item in parts[part].get(user, [])] for user in parts["train"]}
    lengths = np.array([len(sequence) for sequence in sequences.values()], dtype=np.int64)
    flat = [item for sequence in sequences.values() for item in sequence]
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    yield pa.table(
        [
            pa.array(np.repeat(np.array([users[user] for user in sequences], dtype=object), lengths), pa.string()),
            pa.array([items[item] for item in flat], pa.string()),
            pa.array(np.arange(len(flat)) - starts),
        ],
        schema=INTERACTIONS,
    )


def _items(path: Path, text: tuple[str, ...], findings: Findings, clean_html: bool) -> Iterable[pa.Table]:
    meta = _object(path)
    known = {field for record in meta.values() if isinstance(record, dict) for field in record}
    for field in text:
        if meta and field not in known:
            raise HarnessError.unknown(f"field (in {path})", field, known)
    texts = []
    for row, (item, record) in enumerate(meta.items(), start=1):
        fields: list[str | None] = []
        if isinstance(record, dict):
            try:
                fields = [text_of(record.get(field)) for field in text]
            except ValueError as error:
                findings.note("items whose text cannot be read", 1, shortened(f"{item}: {error}"))
        else:
            findings.drop("no record for the item", 1, path, row, item)
        texts.append(joined(fields, findings, clean_html))
    yield pa.table([pa.array(list(meta), pa.string()), pa.array(texts, pa.string())], schema=ITEMS)


def _ids(path: Path) -> dict[int, str]:
    """Original id by index."""
    found: dict[int, str] = {}
    for original, index in _object(path).items():
        if type(index) is not int or index < 0:
            raise HarnessError(f"{path}: {original!r} has the index {index!r}.", "Fix the file.")
        if index in found:
            raise HarnessError(f"{path}: {found[index]!r} and {original!r} share the index {index}.", "Fix the file.")
        found[index] = original
    return found


def _sequences(path: Path, users: dict[int, str], items: dict[int, str]) -> dict[int, list[int]]:
    sequences: dict[int, list[int]] = {}
    for row, (user, sequence) in enumerate(_object(path).items(), start=1):
        # "0" and "00" would be one user.
        if not (user.isascii() and user.isdecimal() and str(int(user[:20])) == user) or int(user) not in users:
            raise HarnessError(f"{path} entry {row}: user {user!r} is not in umap.json.", "Mend the files.")
        if not isinstance(sequence, list):
            raise HarnessError(f"{path} entry {row}: user {user} has no list of items.", "Fix the file.")
        for item in sequence:
            if type(item) is not int or item not in items:
                raise HarnessError(f"{path} entry {row}: item {item!r} is not in smap.json.", "Mend the files.")
        sequences[int(user)] = sequence
    return sequences


def _check_split(parts: dict[str, dict[int, list[int]]], paths: dict[str, Path]) -> list[int]:
    """Checks that the split is leave-one-out: one event of each user in val, one in test, the others before them in
    train. Gives the users without the one or the other.

    Raises:
        HarnessError: it is not.
    """
    for part in ("val", "test"):
        for user, events in parts[part].items():
            if len(events) > 1:
                raise HarnessError(
                    f"{paths[part]}: user {user} has {len(events)} events, not one: the split is not leave-one-out.",
                    "Use a source that keeps no split, or mend the files.",
                )
            if events and not parts["train"].get(user):
                raise HarnessError(
                    f"{paths['train']}: user {user} of {paths[part].name} has no event.", "Mend the files."
                )
    train_only = [u for u in parts["train"] if not (parts["val"].get(u) and parts["test"].get(u))]
    if len(train_only) == len(parts["train"]):
        raise HarnessError(
            f"{paths['test']}: no user has a validation and a test event.", "Check that the files belong together."
        )
    return train_only


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, with no key twice.

    Raises:
        HarnessError: no such file, or it holds something else.
    """
    data = read_document(path)
    try:
        value = orjson.loads(data)
        json.loads(data, object_pairs_hook=_check_keys)  # orjson keeps the last of equal keys, without a word
    except json.JSONDecodeError as error:
        raise HarnessError(
            f"{path} line {error.lineno}: no valid JSON: {error.msg}.", "Fetch the file again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path}: no valid JSON: {str(error)[:200]}.", "Fix the file.") from error
    if not isinstance(value, dict):
        raise HarnessError(f"{path} holds no JSON object.", "Fetch the file again.")
    return value


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
