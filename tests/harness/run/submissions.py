"""A small suite with a submission of a method that the harness does not know, and ways to spoil it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import HarnessError
from harness.results.files import items_path, lists_path, ranks_path, users_path
from harness.results.ranks_table import RankTable
from harness.results.submission import CARD, MANIFEST
from harness.results.users import CatalogueItems, TestUsers
from harness.storage.files import file_digest

METHOD = "my_method.Latest"
SCENARIO = "left-from-right"
STEM = f"{SCENARIO}/{METHOD}-seed0"
RESULT, RANKS, LISTS = f"{STEM}.json", f"{STEM}.parquet", f"{STEM}.lists.parquet"

#: An outsider's method, in a file of its own: the later an item's last event in the data, the better.
SOURCE = """
import numpy as np

from harness.methods.api import NoSettings


class Latest:
    settings = NoSettings()

    def fit(self, data, context):
        train = data.target_domain.train
        last = -np.arange(len(data.target_domain.catalogue), dtype=np.float32)
        last[train.items] = np.arange(len(train.items))
        return Scorer(last)


class Scorer:
    def __init__(self, scores):
        self.scores = scores

    def score(self, histories, candidates):
        scores = np.tile(self.scores, (len(histories), 1))
        return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)
"""

CARD_TEXT = f"""
method: {METHOD}
title: The latest items first
authors: [Ada Lovelace]
contact: ada@example.org
code: https://example.org/latest
licence: MIT
trained_on: [left, right]
other_data: none
used_test_events: false
"""


def sign(folder: Path) -> None:
    """Write the digests of the files, as they are now, into the manifest."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    files = sorted(each for each in folder.rglob("*") if each.is_file() and each.name != MANIFEST)
    manifest["files"] = [  # as a liar would, too
        {"path": str(each.relative_to(folder)), "bytes": each.stat().st_size, "sha256": file_digest(each)}
        for each in files
    ]
    path.write_text(json.dumps(manifest))


def edit_json(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change a JSON file of a submission, and sign again."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))
        if name != MANIFEST:
            sign(folder)

    return spoil


def edit_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace a text in a file of a submission, and sign again."""

    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        if name != MANIFEST:
            sign(folder)

    return spoil


def edit_card(**changes: Any) -> Callable[[Path], None]:
    """Set or add lines of the card; None removes one."""

    def spoil(folder: Path) -> None:
        lines = [line for line in CARD_TEXT.strip().splitlines() if line.partition(":")[0] not in changes]
        lines += [f"{key}: {value}" for key, value in changes.items() if value is not None]
        (folder / CARD).write_text("\n".join(lines))
        sign(folder)

    return spoil


def edit_table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """Change a Parquet file of a submission, write its digest into the results of its scenario, and sign again.

    Metrics are computed from the ranks anew: only what is wrong with the ranks themselves can be found.
    """

    def spoil(folder: Path) -> None:
        path = folder / name
        changed = change(pq.read_table(path).to_pandas())
        pq.write_table(pa.Table.from_pandas(changed, preserve_index=False), path)
        renew(folder)

    return spoil


def renew(folder: Path) -> None:
    """Write digests of ranks, users, lists and items, and metrics from the ranks, into each result, and sign."""
    for path in folder.glob("*/*.json"):
        result = json.loads(path.read_text())
        result["ranks_sha256"] = file_digest(ranks_path(path))
        result["lists_sha256"] = file_digest(lists_path(path))
        # What cannot be read is left to the check.
        with suppress(HarnessError):
            result["items_sha256"] = CatalogueItems.from_parquet(items_path(path)).digest
        with suppress(HarnessError):
            users = TestUsers.from_parquet(users_path(path))
            result["users_sha256"] = users.digest
            with suppress(IndexError):  # other numbers of rows
                table = RankTable.from_parquet(ranks_path(path), users)
                for name in table.ranks:
                    result["candidates"].setdefault(name, {"digest": None})["metrics"] = table.metrics(name)
                result["slices"] = {name: int(members.sum()) for name, members in table.slices.items()}
        path.write_text(json.dumps(result))
    sign(folder)


def swap(frame: pd.DataFrame, a: int, b: int, columns: list[str] | None = None) -> pd.DataFrame:
    """Swap two rows of a table, or some columns of them."""
    names = list(frame.columns) if columns is None else columns
    changed = frame.copy()
    for name in names:
        values = changed[name].to_numpy(copy=True)
        values[[a, b]] = values[[b, a]]
        changed[name] = values
    return changed


def put(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Put a value into one cell of a table."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].to_numpy(copy=True)
        values = values.astype(object) if isinstance(value, list | np.ndarray | str) else values
        values[row] = value
        return frame.assign(**{column: list(values)})

    return change
