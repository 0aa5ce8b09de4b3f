"""Exact and approximate indexes."""

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evaluate import rank_full, rank_retrieved
from harness.method import DotProduct
from harness.protocol.ranking import MISSED
from harness.protocol.split import LeaveOneOut
from harness.retrieval import ItemIndex
from tests.conftest import domain_of

N_ITEMS = 4000


def vectors(n: int, seed: int) -> np.ndarray:
    """Points around forty centres, as items of a catalogue lie."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, 16))
    return (centres[rng.integers(40, size=n)] + 0.4 * rng.normal(size=(n, 16))).astype(np.float32)


def test_an_exact_index_finds_what_sorting_finds() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(50, 2)
    index = ItemIndex(items)
    report = index.tune(queries, 20, 0.99)
    assert (report.kind, report.recall) == ("exact", 1.0)
    found, scores = index.search(queries, 20)
    wanted = np.sort(queries @ items.T, axis=1)[:, ::-1][:, :20]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(queries @ items.T, found, axis=1), wanted, rtol=1e-5)


def test_an_approximate_index_reaches_its_recall_and_says_it() -> None:
    items, queries = vectors(N_ITEMS, 1), vectors(300, 2)
    index = ItemIndex(items, exact_up_to=1000)
    report = index.tune(queries, 20, 0.99)
    assert report.kind.startswith("IVF253,Flat nprobe=")
    assert 0.99 <= report.recall < 1
    # What it says of a sample is true of all.
    found = index.search(queries, 20)[0]
    wanted = ItemIndex(items).search(queries, 20)[0]
    hits = np.mean([len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True)]) / 20
    assert hits == pytest.approx(report.recall, abs=0.01)
    # The same on every run.
    again = ItemIndex(items, exact_up_to=1000)
    assert again.tune(queries, 20, 0.99) == report
    np.testing.assert_array_equal(again.search(queries, 20)[0], found)


def test_too_low_a_recall_is_refused_unless_asked_for() -> None:
    rng = np.random.default_rng(3)
    # Without any centres nothing can be skipped.
    items, queries = rng.normal(size=(N_ITEMS, 64)).astype(np.float32), rng.normal(size=(50, 64)).astype(np.float32)
    with pytest.raises(HarnessError, match=r"finds only 0\.\d+ .*Lower the suite's least_recall"):
        ItemIndex(items, exact_up_to=1000).tune(queries, 20, 0.99)
    report = ItemIndex(items, exact_up_to=1000).tune(queries, 20, 0.2)
    assert 0.2 <= report.recall < 0.99


def test_ranks_from_an_approximate_index_are_those_of_an_exact_one_but_for_what_it_misses() -> None:
    rng = np.random.default_rng(4)
    sequences = [rng.permutation(N_ITEMS)[: rng.integers(3, 8)].tolist() for _ in range(200)]
    held_out = LeaveOneOut().test(domain_of(sequences, N_ITEMS))
    items = vectors(N_ITEMS, 1)
    wishes = items[held_out.targets] + 0.3 * rng.normal(size=(200, 16)).astype(np.float32)
    scorer = DotProduct(items, lambda histories: wishes[histories.users])
    full = rank_full(scorer, held_out, N_ITEMS)
    ranks, report = rank_retrieved(scorer, held_out, 50, least_recall=0.95, exact_up_to=1000)
    assert 0.95 <= report.recall < 1
    found = ranks.above < MISSED
    assert 20 < found.sum() < 180
    assert (ranks.above[found] <= full.above[found]).all()
    assert (full.above[found] - ranks.above[found]).mean() <= 50 * (1 - report.recall) * 2
