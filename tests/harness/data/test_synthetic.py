"""Generated domains have their documented properties, and the ceiling is that of their law."""

import hashlib

import numpy as np
import pytest

from harness.data.domain import Domain, Ints
from harness.data.prepare import prepare
from harness.data.records import RawDomain
from harness.data.synthetic import ITEMS, ITEMS_PER_KIND, KINDS, PARTS, ceiling, planted_tables, word_kinds
from harness.errors import HarnessError
from harness.protocol.split import LeaveOneOut, Split, Temporal


def domain(part: str, seed: int = 0) -> Domain:
    return prepare(RawDomain.of(part, *planted_tables(part, seed)), 1)


@pytest.fixture(scope="module")
def domains() -> dict[str, Domain]:
    return {part: domain(part) for part in PARTS}


def test_tables_are_reproducible() -> None:
    sha = hashlib.sha256()
    for part in PARTS:
        for table in planted_tables(part):
            sha.update(table.to_csv(index=False).encode())
    assert sha.hexdigest() == "71445743686e2f7c521f83a89d33eabfb50bda9e7014f475bac161cc0dc13784"


def test_an_unknown_part_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'helpful'"):
        planted_tables("helpfull")


def test_seeds_differ_in_words_items_and_users() -> None:
    assert word_kinds(0) != word_kinds(1)
    assert not planted_tables("target", 0)[0].equals(planted_tables("target", 1)[0])


def test_sources_share_contradict_or_ignore_the_target_s_kinds(domains: dict[str, Domain]) -> None:
    kind_of = {word: kind for kind, words in enumerate(word_kinds()) for word in words}

    def kinds(part: str) -> list[list[int]]:
        """The target's kinds of the words of each item's text."""
        return [[kind_of[word] for word in text.split()] for text in domains[part].catalogue.texts]

    numbers = numbers_of(domains["target"], np.arange(ITEMS))
    assert kinds("target") == [[number // ITEMS_PER_KIND] * 2 for number in numbers]
    assert all(first == second for first, second in kinds("helpful"))
    # The harmful source has the target's texts, and in each of its kinds one of each kind of the target.
    assert sorted(domains["harmful"].catalogue.texts) == sorted(domains["target"].catalogue.texts)
    harmful = numbers_of(domains["harmful"], np.arange(ITEMS)) // ITEMS_PER_KIND
    pairs = {(kind, *of_words) for kind, of_words in zip(harmful, kinds("harmful"), strict=True)}
    assert pairs == {(kind, other, other) for kind in range(KINDS) for other in range(KINDS)}
    texts = domains["neutral"].catalogue.texts
    assert len(set(texts)) == KINDS
    assert not {word for text in texts for word in text.split()} & set(kind_of)
    for part in ("target", "helpful", "harmful"):
        words = [word for text in domains[part].catalogue.texts for word in text.split()]
        assert {words.count(word) for word in words} == {2}


@pytest.mark.parametrize("part", PARTS)
def test_sequences_follow_the_law(domains: dict[str, Domain], part: str) -> None:
    pairs = [
        kinds[i] == kinds[i + 1]
        for items in domains[part].interactions
        for kinds in [numbers_of(domains[part], items) // ITEMS_PER_KIND]
        for i in range(min(2, len(kinds) - 1))  # no kind can be used up before
    ]
    # Both are of the user's kind, or not both and of one kind by chance.
    strength = PARTS[part].strength
    share = strength**2 + (1 - strength**2) / KINDS
    assert np.mean(pairs) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(pairs)) + 0.02)


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_both_splits_have_test_events(domains: dict[str, Domain], split: str) -> None:
    chosen: Split = LeaveOneOut() if split == "leave-one-out" else Temporal.of(domains["target"])
    assert len(chosen.test(domains["target"]).targets) > 20
    assert len(chosen.training(domains["target"]).validation.targets) > 20
    assert all(chosen.training(d).train.lengths.max() > 1 for d in domains.values())


@pytest.mark.parametrize("strength", [0.0, 0.4, 0.85, 1.0])
def test_the_ceiling_equals_an_enumeration(strength: float) -> None:
    # New users, one kind, two kinds, a kind that is used up.
    histories = [[], [5], [0, 1], [0, 9, 1], [7, 60, 61, 3, 20], [*range(8)], [*range(8), 9]]
    if strength == 1:  # no user likes two kinds
        histories = [[], [5], [0, 1], [*range(8)]]
    expected = [enumerated(history, strength) for history in histories]
    np.testing.assert_allclose(
        np.transpose(ceiling([np.array(h, dtype=np.int64) for h in histories], strength)), expected, rtol=1e-9
    )


def test_the_ceiling_of_no_law_is_chance() -> None:
    ndcg, hr = ceiling([np.array([1, 2, 3])], 0.0)
    assert hr[0] == pytest.approx(10 / (ITEMS - 3))
    assert ndcg[0] == pytest.approx((1 / np.log2(np.arange(2, 12))).sum() / (ITEMS - 3))


def test_the_ceiling_equals_what_its_ranking_scores() -> None:
    # Many targets, so that the error is small.
    strength = PARTS["target"].strength
    found, known = [], []
    for seed in range(6):
        target = domain("target", seed)
        test = LeaveOneOut().test(target)
        histories = [numbers_of(target, items) for items in test.histories.sequences]
        for history, item in zip(histories, numbers_of(target, test.targets), strict=True):
            found.append(gain_of(chances(history.tolist(), strength), int(item))[0])
        known += ceiling(histories, strength)[0].tolist()
    assert np.mean(found) == pytest.approx(np.mean(known), abs=3 * np.std(found) / np.sqrt(len(found)))


def numbers_of(target: Domain, items: Ints) -> Ints:
    """Item numbers of the generator, from dense indices."""
    return np.array([int(target.catalogue.item_ids[i].rpartition("-")[2]) for i in items], dtype=np.int64)


def chances(history: list[int], strength: float) -> dict[int, float]:
    """The probability of each next item, item by item, from the law's definition."""

    def step(kind: int, seen: list[int]) -> dict[int, float]:
        left = [item for item in range(ITEMS) if item not in seen]
        liked = [item for item in left if item // ITEMS_PER_KIND == kind]
        by_law = strength if liked else 0.0
        return {item: by_law * (item in liked) / max(1, len(liked)) + (1 - by_law) / len(left) for item in left}

    weights = []
    for kind in range(KINDS):
        steps = [step(kind, history[:number])[item] for number, item in enumerate(history)]
        weights.append(float(np.prod(steps)))
    parts = [step(kind, history) for kind in range(KINDS)]
    return {
        item: sum(w * part[item] for w, part in zip(weights, parts, strict=True)) / sum(weights) for item in parts[0]
    }


def gain_of(probabilities: dict[int, float], item: int, k: int = 10) -> tuple[float, float]:
    """NDCG@k and HR@k of an item when items are ranked by probability, mean over tied ranks."""
    above = sum(p > probabilities[item] + 1e-12 for p in probabilities.values())
    tied = sum(abs(p - probabilities[item]) <= 1e-12 for p in probabilities.values())
    ranks = range(above + 1, above + tied + 1)
    return float(np.mean([(r <= k) / np.log2(r + 1) for r in ranks])), float(np.mean([r <= k for r in ranks]))


def enumerated(history: list[int], strength: float) -> tuple[float, float]:
    """Expected gains by enumeration of all next items and all their tied ranks."""
    probabilities = chances(history, strength)
    gains = np.array([gain_of(probabilities, item) for item in probabilities])
    ndcg, hr = np.array(list(probabilities.values())) @ gains
    return float(ndcg), float(hr)
