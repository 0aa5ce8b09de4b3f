"""Ranks and recommendation lists from a scorer, in blocks of users."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints, Sequences
from harness.evaluation.ann_index import EXACT_UP_TO, IndexReport, ItemIndex, sample_users
from harness.methods.api import DotProduct, Scorer, VectorScorer
from harness.methods.artefact import StepCallback, no_progress
from harness.protocol.history_mask import seen_mask
from harness.protocol.metrics import ndcg
from harness.protocol.negatives import draw_some
from harness.protocol.ranks import MISSED, InvalidScoresError, Ranks, check_scores, rank_among
from harness.protocol.recommendations import top_items
from harness.protocol.split import DomainTraining, HeldOut, Histories

#: Scores held at once: 64 MB of float32.
_BLOCK_SCORES = 2**24


def rank_full(
    scorer: Scorer, held_out: HeldOut, n_items: int, keep_history: bool = False, report: StepCallback = no_progress
) -> Ranks:
    """Ranks among the whole catalogue less the history; the held-out item always stays.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events.
        n_items: size of the catalogue.
        keep_history: leave items of the history in, as RecBole does for sequential models.
        report: progress callback, (users ranked, users).

    Raises:
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    parts = []
    for histories, rows, scores in _full_scores(scorer, held_out, n_items):
        parts.append(rank_among(scores, held_out.targets[rows], None if keep_history else histories.sequences))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return Ranks.joined(parts)


def rank_and_recommend(
    scorer: Scorer, held_out: HeldOut, n_items: int, length: int, report: StepCallback = no_progress
) -> tuple[Ranks, Ints]:
    """Ranks as `rank_full` does, and takes each user's recommendation list from the same scores.

    The lists are over what is ranked: the whole catalogue less the history, of which the held-out item is not removed.
    Equal scores are listed in the order of item indices, so a list may hold a held-out item whose rank is an
    expectation over ties.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events.
        n_items: size of the catalogue.
        length: items in each list.
        report: progress callback, (users ranked, users).

    Returns:
        The ranks, and int64 [n_users, length], best first, -1 after the last recommended item.

    Raises:
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    parts, lists = [], []
    for histories, rows, scores in _full_scores(scorer, held_out, n_items):
        targets = held_out.targets[rows]
        parts.append(rank_among(scores, targets, histories.sequences))
        lists.append(top_items(scores, length, _without(histories.sequences, targets)))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return Ranks.joined(parts), np.concatenate(lists)


def _full_scores(scorer: Scorer, held_out: HeldOut, n_items: int) -> Iterator[tuple[Histories, Ints, NDArray[Any]]]:
    """Histories, rows and scores over the catalogue, a block of users at a time."""
    for histories, rows in _blocks(held_out, n_items):
        yield histories, rows, check_scores(scorer.score(histories, None), (len(rows), n_items))


def _without(histories: Sequences, targets: Ints) -> Sequences:
    """Histories without each user's held-out item (int64 [n_users])."""
    return histories.where(histories.items != targets[histories.users])


def rank_candidates(
    scorer: Scorer, held_out: HeldOut, candidates: Ints, n_items: int, report: StepCallback = no_progress
) -> Ranks:
    """Ranks among given candidates.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events.
        candidates: int64 [n_users, n_candidates]; each row must hold the user's held-out item once.
        n_items: size of the catalogue; blocks are sized by it, as a scorer may score all items to score a few.
        report: progress callback, (users ranked, users).

    Raises:
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    parts = []
    for histories, rows in _blocks(held_out, n_items):
        block = candidates[rows]
        scores = check_scores(scorer.score(histories, block), block.shape)
        columns = (block == held_out.targets[rows, None]).argmax(axis=1)
        parts.append(rank_among(scores, columns))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return Ranks.joined(parts)


def rank_retrieved(
    scorer: VectorScorer,
    held_out: HeldOut,
    size: int,
    least_recall: float = 0.99,
    exact_up_to: int = EXACT_UP_TO,
    report: StepCallback = no_progress,
) -> tuple[Ranks, IndexReport]:
    """Ranks among the items outside the history that an index finds nearest; a held-out item not among them is a miss.

    Two stages: the index retrieves with the scorer's vectors, then the scorer scores the retrieved items.

    Items that tie for the last places share them fairly. A held-out item among them is in with the probability
    places / ties (`Ranks.chance`), and ranked among as many candidates as any other. Which of the others are in is
    drawn by a hash of user and item; where the scores are the dot products, all of them tie again and the draw
    changes nothing.

    Args:
        scorer: the fitted method.
        held_out: n_users held-out events. The held-out item may be retrieved even if the history holds it.
        size: items retrieved a user; fewer for a user with fewer outside the history, or found by the index.
        least_recall: what an approximate index must find of what an exact one finds.
        exact_up_to: catalogues of more items get an approximate index.
        report: progress callback, (users ranked, users).

    Raises:
        HarnessError: an approximate index finds too little.
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    index = ItemIndex(scorer.item_vectors(), exact_up_to)
    sample = held_out.histories.select(sample_users(len(held_out.targets)))
    all_users = len(sample) == len(held_out.targets)
    index_report = index.tune(scorer.history_vectors(sample), sample.sequences, size, least_recall, all_users)
    parts = []
    for histories, rows in _blocks(held_out, len(index)):
        parts.append(_rank_nearest(scorer, index, histories, held_out.targets[rows], size))
        report(int(rows[-1]) + 1, len(held_out.targets))
    return Ranks.joined(parts), index_report


def _rank_nearest(scorer: VectorScorer, index: ItemIndex, histories: Histories, targets: Ints, size: int) -> Ranks:
    users = np.arange(len(targets))
    excluded = seen_mask(histories.sequences, len(index))
    excluded[users, targets] = False
    # Ask for enough items that `size` are left without the histories.
    scores = index.scores(scorer.history_vectors(histories), size + int(excluded.sum(axis=1).max()))
    if np.isnan(scores.max()):
        raise InvalidScoresError("dot products of history and item vectors hold NaN")
    candidates, chance = _nearest(np.where(excluded, -np.inf, scores), targets, histories.users, size)
    retrieved = candidates[users, targets]
    above, tied = np.full(len(targets), MISSED), np.zeros(len(targets), dtype=np.int64)
    counts = candidates.sum(axis=1)
    unscored = np.zeros(len(targets), dtype=bool)
    for count in np.unique(counts[counts > 0]).tolist():
        group = np.flatnonzero(counts == count)
        items = np.nonzero(candidates[group])[1].reshape(-1, count)
        if getattr(type(scorer), "score", None) is DotProduct.score:  # known already
            final = np.take_along_axis(scores[group], items, axis=1)
        else:
            final = check_scores(scorer.score(histories.select(group), items), items.shape)
        # A user whose item was not retrieved is scored like the others and counted as a miss.
        ranks = rank_among(final, (items == targets[group, None]).argmax(axis=1))
        above[group] = np.where(retrieved[group], ranks.above, MISSED)
        tied[group] = np.where(retrieved[group], ranks.tied, 0)
        if ranks.unscored is not None:
            unscored[group] = ranks.unscored
    return Ranks(
        above,
        tied,
        counts,
        chance if (chance < 1).any() else None,
        unscored if unscored.any() else None,
    )


def _nearest(
    nearness: NDArray[Any], targets: Ints, users: Ints, size: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The `size` nearest items of each user, and the probability that the held-out item is one of them.

    Args:
        nearness: float [n_users, n_items]; -inf is no candidate.
        targets: int64 [n_users], the held-out items.
        users: int64 [n_users], the key of a draw among ties.
        size: items per user, or all where there are fewer.

    Returns:
        bool [n_users, n_items], with a held-out item that ties for the last places always in; and float64 [n_users],
        1 where no tie decides.
    """
    n_items = nearness.shape[1]
    size = min(size, n_items)
    border = np.partition(nearness, n_items - size, axis=1)[:, n_items - size]
    candidates = nearness > border[:, None]
    ties = (nearness == border[:, None]) & (border > -np.inf)[:, None]
    n_free, n_ties = size - candidates.sum(axis=1), ties.sum(axis=1)
    chance = np.ones(len(targets))
    for row in np.flatnonzero(n_ties > n_free):
        tied, target = np.flatnonzero(ties[row]), targets[row]
        ties[row] = False
        held_out = tied == target
        if held_out.any():
            chance[row] = n_free[row] / n_ties[row]
            ties[row, target] = True
        ties[row, draw_some(tied[~held_out], int(users[row]), int(n_free[row] - held_out.sum()))] = True
    return candidates | ties, chance


def validation_ndcg(scorer: Scorer, domain: DomainTraining) -> float:
    """Mean NDCG@10 on the validation events of one domain, full catalogue: the one selection rule.

    The domain must have validation events; under a temporal split a source may have none.
    """
    return float(ndcg(rank_full(scorer, domain.validation, len(domain.catalogue)), 10).mean())


def _blocks(held_out: HeldOut, width: int) -> Iterator[tuple[Histories, Ints]]:
    size = max(1, _BLOCK_SCORES // width)
    for start in range(0, len(held_out.targets), size):
        rows = np.arange(start, min(start + size, len(held_out.targets)))
        yield held_out.histories.block(start, start + size), rows
