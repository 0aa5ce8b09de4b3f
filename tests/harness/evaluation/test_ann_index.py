"""Exact and approximate indexes."""

import numpy as np
import pytest

from harness.data.domain import Sequences
from harness.errors import HarnessError
from harness.evaluation.ann_index import IndexReport, ItemIndex
from harness.evaluation.rank_scorer import rank_full, rank_retrieved
from harness.methods.api import DotProduct
from harness.protocol.ranks import MISSED
from harness.protocol.split import LeaveOneOut
from tests.conftest import domain_of

N_ITEMS = 4000


def vectors(n: int, seed: int) -> np.ndarray:
    """Points around forty centres, as items of a catalogue lie."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, 16))
    return (centres[rng.integers(40, size=n)] + 0.4 * rng.normal(size=(n, 16))).astype(np.float32)


def empty_histories(n: int) -> Sequences:
    """Empty histories."""
    return Sequences.of([[]] * n)


def nearest(scores: np.ndarray, n: int) -> np.ndarray:
    """bool [n_queries, n_items]: the n best of each row."""
    return scores >= np.sort(scores, axis=1)[:, [-n]]


def test_an_exact_index_gives_every_dot_product() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(50, 2)
    index = ItemIndex(items)
    assert index.tune(queries, empty_histories(50), 20, 0.99) == IndexReport("exact", 1.0)
    np.testing.assert_array_equal(index.scores(queries, 20), queries @ items.T)


def test_an_approximate_index_reaches_and_reports_its_recall() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(300, 2)
    index = ItemIndex(items, exact_up_to=1000)
    report = index.tune(queries, empty_histories(300), 20, 0.99)
    assert report.kind.startswith("IVF253,Flat nprobe=")
    assert 0.99 <= report.recall < 1
    assert report.users == 300
    low, high = report.interval
    assert 0 < low < report.recall < high < 1
    index_scores = index.scores(queries, 20)
    hits = nearest(queries @ items.T, 20) & (index_scores > -np.inf)
    assert hits.sum() / (20 * 300) == pytest.approx(report.recall, abs=1e-4)
    # Found items have their exact scores.
    np.testing.assert_allclose(
        index_scores[index_scores > -np.inf], (queries @ items.T)[index_scores > -np.inf], rtol=1e-4, atol=1e-4
    )
    # The same on every run.
    again = ItemIndex(items, exact_up_to=1000)
    assert again.tune(queries, empty_histories(300), 20, 0.99) == report
    np.testing.assert_array_equal(again.scores(queries, 20), index_scores)


def test_a_recall_below_the_required_one_is_refused() -> None:
    rng = np.random.default_rng(3)
    # Without any centres nothing can be skipped.
    items, queries = rng.normal(size=(N_ITEMS, 64)).astype(np.float32), rng.normal(size=(50, 64)).astype(np.float32)
    with pytest.raises(HarnessError, match=r"finds only 0\.\d+ .*Lower the suite's least_recall"):
        ItemIndex(items, exact_up_to=1000).tune(queries, empty_histories(50), 20, 0.99)
    report = ItemIndex(items, exact_up_to=1000).tune(queries, empty_histories(50), 20, 0.2)
    assert 0.2 <= report.recall < 0.99


def test_recall_is_of_a_random_draw_of_users() -> None:
    """256 users with queries in the middle of a cluster, and 1,500 with queries anywhere."""
    rng = np.random.default_rng(5)
    items = vectors(N_ITEMS, 1)
    easy = 4 * np.random.default_rng(0).normal(size=(40, 16))[rng.integers(40, size=256)]
    queries_of_users = np.concatenate([easy, rng.normal(size=(1500, 16))]).astype(np.float32)
    sequences = [rng.permutation(N_ITEMS)[:3].tolist() for _ in queries_of_users]
    held_out = LeaveOneOut().test(domain_of(sequences, N_ITEMS))
    scorer = DotProduct(items, lambda histories: queries_of_users[histories.users])
    _, report = rank_retrieved(scorer, held_out, 50, least_recall=0.5, exact_up_to=1000)
    index = ItemIndex(items, exact_up_to=1000)
    index._index.nprobe = int(report.kind.partition("nprobe=")[2])
    recalls = (nearest(queries_of_users @ items.T, 50) & (index.scores(queries_of_users, 53) > -np.inf)).sum(
        axis=1
    ) / 50
    assert recalls[:256].mean() - recalls.mean() > 0.05
    low, high = report.interval
    assert low <= recalls.mean() <= high
    assert report.users == 1000
    assert high - low < 0.06


def test_the_recall_of_all_users_has_an_interval_of_no_width() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(30, 2)
    report = ItemIndex(items, exact_up_to=1000).tune(queries, empty_histories(30), 20, 0.5, all_users=True)
    assert report.interval == (report.recall, report.recall)


def test_recall_does_not_count_the_history() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(40, 2)
    index = ItemIndex(items, exact_up_to=1000)
    scores = queries @ items.T
    histories = Sequences.of([np.argsort(-row)[:30].tolist() * 2 for row in scores])
    report = index.tune(queries, histories, 20, 0.5)
    outside = scores.copy()
    outside[histories.users, histories.items] = -np.inf
    hits = nearest(outside, 20) & (index.scores(queries, 80) > -np.inf)
    assert hits.sum() / 800 == pytest.approx(report.recall, abs=1e-4)


def test_an_approximate_index_finds_all_that_tie_with_the_last() -> None:
    items = np.repeat(vectors(20, 1), 200, axis=0)
    index = ItemIndex(items, exact_up_to=1000)
    report = index.tune(items[::200], empty_histories(20), 10, 0.5)
    index_scores = index.scores(items[::200], 10)
    assert ((index_scores == index_scores.max(axis=1, keepdims=True)).sum(axis=1) == 200).all()
    # Of 200 items that are as near as each other, any ten will do.
    assert report.recall == np.mean(index_scores.max(axis=1) >= (items[::200] @ items.T).max(axis=1) - 1e-4)


def test_ranks_of_retrieved_items_against_an_exact_index() -> None:
    rng = np.random.default_rng(4)
    sequences = [rng.permutation(N_ITEMS)[: rng.integers(3, 8)].tolist() for _ in range(200)]
    held_out = LeaveOneOut().test(domain_of(sequences, N_ITEMS))
    items = vectors(N_ITEMS, 1)
    queries_of_users = items[held_out.targets] + 0.3 * rng.normal(size=(200, 16)).astype(np.float32)
    scorer = DotProduct(items, lambda histories: queries_of_users[histories.users])
    full = rank_full(scorer, held_out, N_ITEMS)
    ranks, report = rank_retrieved(scorer, held_out, 50, least_recall=0.95, exact_up_to=1000)
    assert 0.95 <= report.recall < 1
    retrieved = ranks.above < MISSED
    assert 20 < retrieved.sum() < 180
    assert (ranks.above[retrieved] <= full.above[retrieved]).all()
    assert (full.above[retrieved] - ranks.above[retrieved]).mean() <= 50 * (1 - report.recall) * 2
