"""Split sequences as JSON.

`train.json`, `val.json` and `test.json` map a user's index to item indices in time order; `umap.json` and `smap.json`
map original ids to indices; `meta_data.json` maps original item ids to their fields. There are no timestamps.

The split of the files is kept: a user's events in the order train, val, test, with one event in val and one in test,
are exactly leave-one-out. Users without a validation or test event are used for training only; any other split is
refused.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from harness.data.parse_columns import join_fields
from harness.data.records import INTERACTIONS, ITEMS, Findings, RawDomain, ReadProgress, no_read_progress, shortened
from harness.data.sources.source import Source, omitted_if
from harness.data.streams import read_document
from harness.data.text import text_of
from harness.errors import HarnessError

_PARTS = ("train", "val", "test")


class SequenceJson(Source):
    """A folder of JSON files. An item's text is its text fields in order, joined by spaces."""

    source: Literal["sequence-json"] = "sequence-json"
    folder: Path
    text: tuple[str, ...] = ("title",)
    clean_html: bool = omitted_if(False)

    @property
    def timed(self) -> bool:
        """False: there are no timestamps."""
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
            lambda item_ids: _items(paths["meta_data"], self.text, findings, self.clean_html),
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
                reason = "held-out event of a user without the other one"
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
        texts.append(join_fields(fields, findings, clean_html))
    yield pa.table([pa.array(list(meta), pa.string()), pa.array(texts, pa.string())], schema=ITEMS)


def _ids(path: Path) -> dict[int, str]:
    """Original ids by index."""
    ids: dict[int, str] = {}
    for original, index in _object(path).items():
        if type(index) is not int or index < 0:
            raise HarnessError(f"{path}: {original!r} has the index {index!r}.", "Fix the file.")
        if index in ids:
            raise HarnessError(f"{path}: {ids[index]!r} and {original!r} share the index {index}.", "Fix the file.")
        ids[index] = original
    return ids


def _sequences(path: Path, users: dict[int, str], items: dict[int, str]) -> dict[int, list[int]]:
    sequences: dict[int, list[int]] = {}
    for row, (user, sequence) in enumerate(_object(path).items(), start=1):
        # "0" and "00" would be the same user.
        if not (user.isascii() and user.isdecimal() and str(int(user[:20])) == user) or int(user) not in users:
            raise HarnessError(f"{path} entry {row}: user {user!r} is not in umap.json.", "Fix the files.")
        if not isinstance(sequence, list):
            raise HarnessError(f"{path} entry {row}: user {user} has no list of items.", "Fix the file.")
        for item in sequence:
            if type(item) is not int or item not in items:
                raise HarnessError(f"{path} entry {row}: item {item!r} is not in smap.json.", "Fix the files.")
        sequences[int(user)] = sequence
    return sequences


def _check_split(parts: dict[str, dict[int, list[int]]], paths: dict[str, Path]) -> list[int]:
    """Check that the split is leave-one-out: at most one event of each user in val and in test, the others in train.

    Returns:
        The users without a validation or test event.

    Raises:
        HarnessError: the split is not leave-one-out.
    """
    for part in ("val", "test"):
        for user, events in parts[part].items():
            if len(events) > 1:
                raise HarnessError(
                    f"{paths[part]}: user {user} has {len(events)} events, not one: the split is not leave-one-out.",
                    "Use a source without a split, or fix the files.",
                )
            if events and not parts["train"].get(user):
                raise HarnessError(
                    f"{paths['train']}: user {user} of {paths[part].name} has no event.", "Fix the files."
                )
    train_only = [u for u in parts["train"] if not (parts["val"].get(u) and parts["test"].get(u))]
    if len(train_only) == len(parts["train"]):
        raise HarnessError(
            f"{paths['test']}: no user has a validation and a test event.", "Check that the files belong together."
        )
    return train_only


def _object(path: Path) -> dict[str, Any]:
    """Read a JSON object without duplicate keys.

    Raises:
        HarnessError: the file is missing or contains something else.
    """
    data = read_document(path)
    try:
        value = orjson.loads(data)
        json.loads(data, object_pairs_hook=_check_keys)  # orjson silently keeps the last of equal keys
    except json.JSONDecodeError as error:
        raise HarnessError(
            f"{path} line {error.lineno}: not valid JSON: {error.msg}.", "Fetch the file again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path}: not valid JSON: {str(error)[:200]}.", "Fix the file.") from error
    if not isinstance(value, dict):
        raise HarnessError(f"{path} is not a JSON object.", "Fetch the file again.")
    return value


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} is given twice in one object")
