"""Asks a scorer for scores, in blocks of users, and turns them into ranks."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.method import Report, Scorer, VectorScorer, untold
from harness.protocol.candidates import seen_mask
from harness.protocol.metrics import ndcg
from harness.protocol.ranking import MISSED, InvalidScoresError, Ranks, rank_among
from harness.protocol.split import DomainTraining, HeldOut, Histories
from harness.retrieval import EXACT_UP_TO, IndexReport, ItemIndex

#: Scores held at once: 64 MB of float32.
_BLOCK_SCORES = 2**24
#: Users whose histories an approximate index is tuned on.
_TUNED_ON = 256


def rank_full(
    scorer: Scorer, held_out: HeldOut, n_items: int, keep_history: bool = False, report: Report = untold
) -> Ranks:
    """Ranks among the whole catalogue less the history; the held-out item always stays.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events.
        n_items: size of the catalogue.
        keep_history: leave items of the history in, as RecBole does for sequential models.
        report: told of how many users are ranked.

    Raises:
        InvalidScoresError: NaN, or scores of the wrong shape.
    """
    parts = []
    for histories, rows in _blocks(held_out, n_items):
        scores = scorer.score(histories, None)
        _check_shape(scores.shape, (len(rows), n_items))
        parts.append(rank_among(scores, held_out.targets[rows], None if keep_history else histories.sequences))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return _joined(parts)


def rank_candidates(
    scorer: Scorer, held_out: HeldOut, candidates: Ints, n_items: int, report: Report = untold
) -> Ranks:
    """Ranks among given candidates.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events.
        candidates: int64 [n_users, n_candidates]; each row should hold the user's held-out item once (where it
            is not there, the rank given means nothing).
        n_items: size of the catalogue: a scorer may score all of it to score a few, so blocks are cut for that.
        report: told of how many users are ranked.

    Raises:
        InvalidScoresError: NaN, or scores of the wrong shape.
    """
    parts = []
    for histories, rows in _blocks(held_out, n_items):
        own = candidates[rows]
        scores = scorer.score(histories, own)
        _check_shape(scores.shape, own.shape)
        columns = (own == held_out.targets[rows, None]).argmax(axis=1)
        parts.append(rank_among(scores, columns))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return _joined(parts)


def rank_retrieved(
    scorer: VectorScorer,
    held_out: HeldOut,
    size: int,
    least_recall: float = 0.99,
    exact_up_to: int = EXACT_UP_TO,
    report: Report = untold,
) -> tuple[Ranks, IndexReport]:
    """Ranks among the items outside the history that FAISS finds nearest; not among them is a miss.

    Two stages: FAISS retrieves with the scorer's vectors, then the scorer scores what was retrieved.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events. The held-out item may be retrieved even if the history holds it.
        size: items retrieved a user, cut to what the catalogue has outside the longest history.
        least_recall: what an approximate index must find of what an exact one finds.
        exact_up_to: catalogues of more items get an approximate index.
        report: told of how many users are ranked.

    Raises:
        HarnessError: an approximate index finds too little.
        InvalidScoresError: NaN, or scores of the wrong shape.
    """
    candidates, index = _retrieve(scorer, held_out, size, least_recall, exact_up_to)
    found = (candidates == held_out.targets[:, None]).any(axis=1)
    # A user whose item was not found is scored like the others, and counted as a miss below.
    ranks = rank_candidates(scorer, held_out, candidates, len(scorer.item_vectors()), report)
    return Ranks(np.where(found, ranks.above, MISSED), np.where(found, ranks.tied, 0), ranks.candidates), index


def _retrieve(
    scorer: VectorScorer, held_out: HeldOut, size: int, least_recall: float, exact_up_to: int
) -> tuple[Ints, IndexReport]:
    """The nearest items outside each history: int64 [n_users, size], distinct, sorted by item."""
    vectors = scorer.item_vectors()
    n_items = len(vectors)
    longest = int(held_out.histories.sequences.lengths.max(initial=0))
    size = min(size, n_items - longest)
    if size < 1:
        raise InvalidScoresError(f"no item is left to retrieve: a history of {longest}, a catalogue of {n_items}")
    index = ItemIndex(vectors, exact_up_to)
    report = index.tune(_queries(scorer, held_out.histories.block(0, _TUNED_ON)), size + longest, least_recall)
    parts = []
    for histories, rows in _blocks(held_out, n_items):
        queries = _queries(scorer, histories)
        # So many that `size` are left when the history is taken out.
        found, _ = index.search(queries, size + longest)
        items = _filled(found, n_items)
        barred = np.take_along_axis(seen_mask(histories.sequences, n_items), items, axis=1)
        barred &= items != held_out.targets[rows, None]
        # The first `size` that are not barred, in the order of nearness.
        first = np.argsort(barred, axis=1, kind="stable")[:, :size]
        parts.append(np.sort(np.take_along_axis(items, first, axis=1), axis=1))
    return np.concatenate(parts), report


def _queries(scorer: VectorScorer, histories: Histories) -> NDArray[np.float32]:
    queries = scorer.history_vectors(histories)
    if np.isnan(queries).any():
        raise InvalidScoresError("history vectors hold NaN")
    return queries


def _filled(items: Ints, n_items: int) -> Ints:
    """An approximate index may find too few: others take the empty places (-1), so that a row's items are distinct."""
    for row in np.flatnonzero((items < 0).any(axis=1)):
        others = np.setdiff1d(np.arange(n_items), items[row])
        items[row, items[row] < 0] = others[: (items[row] < 0).sum()]
    return items


def validation_ndcg(scorer: Scorer, domain: DomainTraining) -> float:
    """Mean NDCG@10 on the validation events of one domain, full catalogue: the one selection rule.

    A domain must have validation events: under a temporal split a source may have none, and cannot select then.
    """
    return float(ndcg(rank_full(scorer, domain.validation, len(domain.catalogue)), 10).mean())


def _blocks(held_out: HeldOut, width: int) -> Iterator[tuple[Histories, Ints]]:
    size = max(1, _BLOCK_SCORES // width)
    for start in range(0, len(held_out.targets), size):
        rows = np.arange(start, min(start + size, len(held_out.targets)))
        yield held_out.histories.block(start, start + size), rows


def _check_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise InvalidScoresError(f"scores have shape {list(found)} where {list(wanted)} was asked for")


def _joined(parts: list[Ranks]) -> Ranks:
    return Ranks(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("above", "tied", "candidates")))
