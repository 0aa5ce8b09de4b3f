"""Recommendations of an exported model for a history of titles."""

import csv
import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.domain import Catalogue, Ints, Sequences
from harness.errors import HarnessError
from harness.methods.api import Scorer
from harness.methods.recommender import load_scorer
from harness.protocol.recommendations import top_items
from harness.protocol.split import Histories

#: Names of the column of texts: that of `harness data export`, and what people call theirs.
_TEXT_COLUMNS = ("text", "title")

#: What may follow a title in a text: a year, then genres.
_YEAR = re.compile(r"\W*\(?\d{4}\b")

#: Titles in an error message.
_SHOWN = 5


@dataclass(frozen=True)
class Recommended:
    """A recommended item.

    Attributes:
        rank: from 1.
        item_id: as in the catalogue's file.
        title: the item's text.
        score: higher is better.
    """

    rank: int
    item_id: str
    title: str
    score: float


def recommend(
    folder: Path, catalogue: Path, history: Sequence[str], top: int, device: str = "cpu"
) -> list[Recommended]:
    """The best items after a history.

    Args:
        folder: of an exported model.
        catalogue: a CSV file of items.
        history: titles or item ids of the catalogue, oldest first.
        top: number of items.
        device: `cpu` or `cuda`.

    Raises:
        HarnessError: the folder or the file cannot be read, or a title is unknown or of several items.
    """
    items = read_catalogue(catalogue)
    known = [find_item(items, name, catalogue) for name in history]
    ranked, scores = best_items(load_scorer(folder, items, device), items, known, top)
    return [
        Recommended(rank, items.item_ids[item], items.texts[item], score)
        for rank, (item, score) in enumerate(zip(ranked.tolist(), scores, strict=True), start=1)
    ]


def best_items(scorer: Scorer, catalogue: Catalogue, history: Sequence[int], top: int) -> tuple[Ints, list[float]]:
    """The best items outside a history, best first, and their scores; equal scores in the catalogue's order."""
    histories = Histories(np.zeros(1, dtype=np.int64), Sequences.of([history]))
    scores = scorer.score(histories, None)
    items = top_items(scores, min(top, len(catalogue)), histories.sequences)[0]
    items = items[items >= 0]
    return items, scores[0, items].tolist()


def read_catalogue(path: Path) -> Catalogue:
    """Items from a CSV file with the columns `item_id` and `text` (or `title`), as `harness data export` writes it.

    Raises:
        HarnessError: the file is missing, has other columns, no item, or an item twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            text = next((name for name in _TEXT_COLUMNS if name in columns), None)
            if "item_id" not in columns or text is None:
                raise HarnessError(
                    f"{path} has the columns {', '.join(columns) or '(none)'}, not item_id and text.",
                    "Name its columns so, or use the items.csv of harness data export.",
                )
            items = [(row["item_id"], row[text] or "") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path} cannot be read: {error}.", "Give a CSV file in UTF-8.") from error
    ids = [item_id for item_id, _ in items]
    if not ids:
        raise HarnessError(f"{path} has no items.", "Give each item one row.")
    item_id, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise HarnessError(f"{path} has the item {item_id!r} {count} times.", "Give each item one row.")
    return Catalogue(tuple(ids), tuple(text for _, text in items))


def find_item(catalogue: Catalogue, name: str, path: Path) -> int:
    """The item that a name stands for: its id, its text, or the beginning of its text, without case.

    A name of several items' beginnings stands for the one whose text goes on with a year.

    Raises:
        HarnessError: there is no such item, or more than one.
    """
    if name in catalogue.item_ids:
        return catalogue.item_ids.index(name)
    wanted, texts = name.strip().casefold(), [text.casefold() for text in catalogue.texts]
    begun = [item for item, text in enumerate(texts) if re.match(rf"{re.escape(wanted)}(?!\w)", text)] if wanted else []
    for items in (
        [item for item in begun if texts[item] == wanted],
        [item for item in begun if _YEAR.match(texts[item][len(wanted) :])],
        begun,
    ):
        if len(items) == 1:
            return items[0]
        if items:
            several = "; ".join(f"{catalogue.texts[item]!r} ({catalogue.item_ids[item]})" for item in items[:_SHOWN])
            raise HarnessError(f"{name!r} is {len(items)} items of {path}: {several}.", "Give the item's id.")
    # Genres and years after a title must not hide that it is near.
    heads = {text[: len(wanted) + 2]: item for item, text in reversed(list(enumerate(texts)))}
    near = [heads[head] for head in difflib.get_close_matches(wanted, heads, n=3, cutoff=0.6)]
    shown = " or ".join(repr(catalogue.texts[item]) for item in near)
    raise HarnessError(
        f"No item of {path} is called {name!r}.", f"Did you mean {shown}?" if near else "Give a title or an item's id."
    )
