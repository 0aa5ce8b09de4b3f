"""Generated domains have their documented properties, and transfer between them has the known effects."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from harness.data.domain import Domain, Ints
from harness.data.prepare import prepare
from harness.data.records import RawDomain
from harness.data.synthetic import (
    ITEMS_PER_TOPIC,
    PARTS,
    STRENGTH,
    TOPICS,
    known_ndcg,
    planted_tables,
    transition_matrix,
)
from harness.errors import HarnessError
from harness.evaluation.rank_scorer import rank_full
from harness.protocol.metrics import ndcg
from harness.protocol.significance import mean_interval
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
    assert sha.hexdigest() == "6ca8642bbb018d14bc61f7c10ac8612dcada508fd9444f4ed00af30dc212a740"


def test_an_unknown_part_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'helpful'"):
        planted_tables("helpfull")


def test_transitions_and_words_of_the_parts(domains: dict[str, Domain]) -> None:
    follows = {part: transition_matrix(part).argmax(axis=1) for part in PARTS}
    assert (follows["helpful"] == follows["target"]).all()
    assert (follows["harmful"] != follows["target"]).all()
    assert all((follows[part] != np.arange(TOPICS)).all() for part in PARTS)
    assert all(np.allclose(transition_matrix(part).sum(axis=1), 1) for part in PARTS)
    words = {part: {w for text in d.catalogue.texts for w in text.split()[:2]} for part, d in domains.items()}
    assert words["target"] == words["helpful"] == words["harmful"]
    assert not words["target"] & words["neutral"]
    assert all(len(d.catalogue) == TOPICS * ITEMS_PER_TOPIC for d in domains.values())
    texts = [text for d in domains.values() for text in d.catalogue.texts]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("part", PARTS)
def test_sequences_follow_the_transitions(domains: dict[str, Domain], part: str) -> None:
    follows = transition_matrix(part).argmax(axis=1)
    steps = [
        topics[i + 1] == follows[topics[i]]
        for topics in (topics_of(domains[part], s) for s in domains[part].interactions)
        for i in range(len(topics) - 1)
    ]
    share = STRENGTH + (1 - STRENGTH) / TOPICS
    assert np.mean(steps) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(steps)) + 0.005)


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_both_splits_have_test_events(domains: dict[str, Domain], split: str) -> None:
    chosen = rule(split, domains["target"])
    assert len(chosen.test(domains["target"]).targets) > 40
    assert len(chosen.training(domains["target"]).validation.targets) > 40
    assert all(chosen.training(d).train.lengths.max() > 1 for d in domains.values())


def uniform_transitions() -> np.ndarray:
    """Transition probabilities without any knowledge: float64 [TOPICS, TOPICS]."""
    return np.full((TOPICS, TOPICS), 1 / TOPICS)


@pytest.mark.parametrize("ranked_by", ["target", "harmful", "nothing"])
def test_known_ndcg_equals_measured_ndcg(ranked_by: str) -> None:
    # Many targets, so that the interval is narrow.
    values, known = [], []
    for seed in range(6):
        target = domain("target", seed)
        test = LeaveOneOut().test(target)
        assumed = uniform_transitions() if ranked_by == "nothing" else transition_matrix(ranked_by)
        scorer = TransitionScorer(target, assumed)
        values.append(ndcg(rank_full(scorer, test, len(target.catalogue)), 10))
        known.append(known_ndcg([numbers(target, s) for s in test.histories.sequences], assumed))
    measured = mean_interval(np.concatenate(values)[None])
    assert np.mean(np.concatenate(known)) == pytest.approx(measured.mean, abs=1.5 * measured.half_width)


def test_effects_of_helpful_harmful_and_neutral_sources(domains: dict[str, Domain]) -> None:
    target = domains["target"]
    test = LeaveOneOut().test(target)

    def values(*sources: str) -> np.ndarray:
        scorer = TransitionScorer(
            target, estimated_transitions([domains[name] for name in ("target", *sources)], LeaveOneOut())
        )
        return ndcg(rank_full(scorer, test, len(target.catalogue)), 10)

    alone = values()
    helped, harmed, neither = values("helpful"), values("harmful"), values("neutral")
    histories = [numbers(target, s) for s in test.histories.sequences]
    ceiling = known_ndcg(histories, transition_matrix("target")).mean()
    floor = known_ndcg(histories, transition_matrix("harmful")).mean()
    assert helped.mean() > alone.mean() > harmed.mean()
    assert stats.ttest_rel(helped, alone).pvalue < 0.001
    assert stats.ttest_rel(harmed, alone).pvalue < 0.001
    np.testing.assert_array_equal(neither, alone)
    # A large source with the same transitions gives the highest possible NDCG; a contradicting one lowers it, but not
    # as far as the contradicting transitions alone.
    assert helped.mean() == pytest.approx(ceiling, abs=2 * mean_interval(helped[None]).half_width)
    assert floor < harmed.mean() < 0.5 * ceiling


@pytest.mark.parametrize("ranked_by", ["target", "harmful", "nothing"])
def test_known_ndcg_with_partly_and_wholly_used_topics(ranked_by: str) -> None:
    # Items of topics 0, 31 (its successor), 67 (its harmful successor) and 100: none, some, or all of them used.
    histories = [
        np.array(items)
        for items in (
            [0],
            [93, 0],
            [93, 94, 0],
            [93, 94, 95, 0],
            [201, 202, 0],
            [201, 202, 203, 0],
            [0, 1, 2],
            [300, 1],
        )
    ]
    assumed = uniform_transitions() if ranked_by == "nothing" else transition_matrix(ranked_by)
    expected = [enumerated(history, assumed) for history in histories]
    np.testing.assert_allclose(known_ndcg(histories, assumed), expected, rtol=1e-12)


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_effects_under_both_splits(domains: dict[str, Domain], split: str) -> None:
    target = domains["target"]
    chosen = rule(split, target)
    test = chosen.test(target)

    def values(*sources: str) -> np.ndarray:
        assumed = estimated_transitions([domains[name] for name in ("target", *sources)], chosen)
        return ndcg(rank_full(TransitionScorer(target, assumed), test, len(target.catalogue)), 10)

    alone = values()
    for source, sign in (("helpful", 1), ("harmful", -1)):
        assert sign * (values(source) - alone).mean() > 0
        assert stats.ttest_rel(values(source), alone).pvalue < 0.001
    np.testing.assert_array_equal(values("neutral"), alone)


def rule(split: str, target: Domain) -> Split:
    return LeaveOneOut() if split == "leave-one-out" else Temporal.of(target)


def numbers(target: Domain, items: Ints) -> Ints:
    """Item numbers of the generator, from dense indices."""
    return np.array([int(target.catalogue.item_ids[i].rpartition("-")[2]) for i in items])


def topics_of(target: Domain, items: Ints) -> Ints:
    return numbers(target, items) // ITEMS_PER_TOPIC


@dataclass
class TransitionScorer:
    """Scores items by assumed transitions; a topic's probability is divided among its items outside the history."""

    target: Domain
    assumed: np.ndarray

    def score(self, histories, candidates):
        topics = topics_of(self.target, np.arange(len(self.target.catalogue)))
        scores = []
        for items in histories.sequences:
            history_topics = topics[items]
            left = ITEMS_PER_TOPIC - np.bincount(history_topics, minlength=TOPICS)
            scores.append((self.assumed[history_topics[-1]] / np.maximum(left, 1))[topics])
        return np.array(scores, dtype=np.float32)


def estimated_transitions(domains: list[Domain], split: Split, prior: float = 0.05) -> np.ndarray:
    """Transitions estimated from training sequences; topics are matched by the first two words of item texts."""
    names: dict[str, int] = {}
    target = domains[0]
    for item, text in enumerate(target.catalogue.texts):
        names[" ".join(text.split()[:2])] = topics_of(target, np.array([item]))[0]
    counts = np.full((TOPICS, TOPICS), prior)
    for source in domains:
        topics = np.array([names.get(" ".join(text.split()[:2]), -1) for text in source.catalogue.texts])
        for items in split.training(source).train:
            steps = topics[items]
            if (steps >= 0).all():
                np.add.at(counts, (steps[:-1], steps[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def enumerated(history: Ints, assumed: np.ndarray, k: int = 10) -> float:
    """Expected NDCG@k by enumeration of all next items and all their tied ranks."""
    outside = [item for item in range(TOPICS * ITEMS_PER_TOPIC) if item not in history]
    left = [sum(item // ITEMS_PER_TOPIC == topic for item in outside) for topic in range(TOPICS)]
    last = history[-1] // ITEMS_PER_TOPIC

    def share(table: np.ndarray, item: int) -> float:
        topic = item // ITEMS_PER_TOPIC
        return table[last, topic] / left[topic]

    scores = np.array([share(assumed, item) for item in outside])
    chances = np.array([share(transition_matrix("target"), item) for item in outside])
    gains = []
    for score in scores:
        above = (scores > score + 1e-12).sum()
        tied = (abs(scores - score) < 1e-12).sum()
        gains.append(np.mean([1 / np.log2(r + 1) if r <= k else 0.0 for r in range(above + 1, above + tied + 1)]))
    return float((chances / chances.sum()) @ np.array(gains))
