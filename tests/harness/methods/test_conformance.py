"""Good methods pass every check; each kind of bad method fails the check that is meant for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnavailableError
from harness.methods.api import DotProduct, NoSettings, gather_candidates
from harness.methods.artefact import Artefact
from harness.methods.conformance import CHECKS, check_method
from harness.methods.conformance_subject import SOURCE, TARGET, synthetic_domain, training_data
from harness.methods.registry import make_method
from harness.protocol.split import LeaveOneOut
from harness.training.record import TrainingRecord


def counts_of(domain) -> np.ndarray:
    return np.bincount(domain.train.items, minlength=len(domain.catalogue)).astype(np.float32)


class Good:
    """Popularity plus a bonus for the item after the latest one."""

    settings: Any = NoSettings()

    def fit(self, data, context):
        self.counts = counts_of(data.target_domain)
        return self

    def whole(self, histories):
        scores = np.tile(self.counts, (len(histories), 1))
        scores[np.arange(len(histories)), [(items[-1] + 1) % len(self.counts) for items in histories.sequences]] += 9
        return scores

    def score(self, histories, candidates):
        return gather_candidates(self.whole(histories), candidates)


@dataclass
class Thawed:
    rate: float = 0.1


@dataclass(frozen=True)
class WithArray:
    rates: Any = field(default_factory=lambda: np.zeros(3))


class NotFrozen(Good):
    settings = Thawed()


class NotJson(Good):
    settings = WithArray()


class FailsToFit(Good):
    def fit(self, data, context):
        raise ValueError("no [luck]")


class NoScore(Good):
    def fit(self, data, context):
        return {}


class UnknownDomain(Good):
    def learns_from(self, target, sources):
        return ("elsewhere",)


class UnknownReference(Good):
    reference = "nothing-like-it"


class HidesASource(Good):
    def learns_from(self, target, sources):
        return (target,)

    def fit(self, data, context):
        self.counts = counts_of(data.target_domain) + counts_of(data.domains[SOURCE])
        return self


class GlobalRandomness(Good):
    def fit(self, data, context):
        self.counts = counts_of(data.target_domain) + np.random.random(48).astype(np.float32)  # noqa: NPY002
        return self


class KnowsTheContent(Good):
    """The fingerprint is of the whole domain, test events included."""

    def fit(self, data, context):
        self.counts = counts_of(data.target_domain) * (1 + int(data.target_domain.fingerprint[:8], 16) % 97)
        return self


class WrongShape(Good):
    def score(self, histories, candidates):
        return super().score(histories, None)


class Words(Good):
    def score(self, histories, candidates):
        return super().score(histories, candidates).astype(str)


class GivesNan(Good):
    def whole(self, histories):
        return np.where(self.counts > 5, super().whole(histories), np.nan)


class GivesInfinity(Good):
    def whole(self, histories):
        return np.where(self.counts > 5, super().whole(histories), np.inf)


class RecommendsNothing(Good):
    def whole(self, histories):
        return np.full((len(histories), len(self.counts)), -np.inf)


class RanksCandidates(Good):
    """A score depends on which other candidates there are."""

    def score(self, histories, candidates):
        scores = super().score(histories, candidates)
        return scores / scores.sum(axis=1, keepdims=True)


class FirstIsBest(Good):
    """The first of tied candidates wins; the whole catalogue is scored as it should be."""

    def score(self, histories, candidates):
        scores = super().score(histories, candidates)
        return scores if candidates is None else scores - np.linspace(0, 0.5, scores.shape[1], dtype=np.float32)


class SortsCandidates(Good):
    def score(self, histories, candidates):
        if candidates is not None:
            candidates.sort(axis=1)
        return super().score(histories, candidates)


class Standardizes(Good):
    """Scores are standardized over the users of a batch."""

    def whole(self, histories):
        scores = super().whole(histories)
        return scores - scores.mean(axis=0)


class Remembers(Good):
    """Every score raises the next."""

    def whole(self, histories):
        self.counts = self.counts + np.arange(len(self.counts), dtype=np.float32)
        return super().whole(histories)


class FewVectors(Good):
    def item_vectors(self):
        return np.ones((3, 2), dtype=np.float32)

    def history_vectors(self, histories):
        return np.ones((len(histories), 2), dtype=np.float32)


class OtherWidth(FewVectors):
    def item_vectors(self):
        return np.ones((len(self.counts), 5), dtype=np.float32)


class NoDotProduct(Good):
    def fit(self, data, context):
        class Scaled(DotProduct):
            def score(self, histories, candidates):
                return super().score(histories, candidates) * 2

        return Scaled(
            np.eye(len(data.target_domain.catalogue), dtype=np.float32), partial(Good.whole, super().fit(data, context))
        )


class TakesMuchMemory(Good):
    def whole(self, histories):
        differences = super().whole(histories)[:, :, None] + np.zeros(48)
        return differences.mean(axis=2)


BAD = {
    NotFrozen: "settings",
    NotJson: "settings",
    FailsToFit: "fit",
    NoScore: "fit",
    WrongShape: "shapes",
    Words: "shapes",
    UnknownDomain: "learns-from",
    UnknownReference: "learns-from",
    HidesASource: "learns-from",
    GlobalRandomness: "determinism",
    KnowsTheContent: "test-events",
    GivesNan: "finite-scores",
    GivesInfinity: "finite-scores",
    RecommendsNothing: "finite-scores",
    RanksCandidates: "catalogue-and-candidates",
    FirstIsBest: "candidate-order",
    SortsCandidates: "candidate-order",
    Standardizes: "batches",
    Remembers: "batches",
    FewVectors: "vectors",
    OtherWidth: "vectors",
    NoDotProduct: "vectors",
    TakesMuchMemory: "memory",
}


def outcomes(make: Callable[[], Any]) -> dict[str, str]:
    return {check.name: check.outcome for check in check_method(make)}


def test_a_good_method_passes() -> None:
    expected = dict.fromkeys(CHECKS, "passed") | {"vectors": "skipped"}
    assert outcomes(Good) == expected


@pytest.mark.parametrize("name", ["popularity", "recent-popularity", "markov", "item-knn"])
def test_methods_of_the_harness_pass(name: str) -> None:
    assert "failed" not in outcomes(partial(make_method, name)).values()


def test_every_check_has_a_method_that_fails_it() -> None:
    assert set(BAD.values()) == set(CHECKS)


@pytest.mark.parametrize(("method", "check"), BAD.items(), ids=[method.__name__ for method in BAD])
def test_a_bad_method_fails_the_check_that_is_meant_for_it(method: type, check: str) -> None:
    results = check_method(method)
    assert [each.name for each in results] == list(CHECKS)
    failed = {each.name: each.reason for each in results if each.outcome == "failed"}
    assert check in failed
    assert failed[check]
    assert "\n" not in failed[check]


def test_a_method_that_cannot_be_fitted_fails_once() -> None:
    assert [name for name, outcome in outcomes(FailsToFit).items() if outcome == "failed"] == ["fit"]


def test_the_training_data_hold_no_test_event() -> None:
    domains = {TARGET: synthetic_domain(TARGET, 0), SOURCE: synthetic_domain(SOURCE, 1)}
    data = training_data(domains)
    for name, domain in domains.items():
        test = LeaveOneOut().test(domain)
        part = data.domains[name]
        assert part.train.lengths.sum() + 2 * len(test.targets) == domain.interactions.lengths.sum()
        assert (part.validation.times < test.times).all()
    assert set(data.domains[TARGET].user_ids) & set(data.domains[SOURCE].user_ids)


def test_artefacts_are_trained_once_a_fit() -> None:
    trained = []

    def make(folder: Path, context) -> TrainingRecord:
        trained.append(folder)
        (folder / "counts.json").write_text(json.dumps([1.0] * 48))
        return TrainingRecord((0.5,), 1, 1, 1, {})

    class Trains(Good):
        def fit(self, data, context):
            artefact = Artefact("counts", "counts", {"domain": data.target_domain.identity}, make)
            assert context.artefacts.get_or_train(artefact) == context.artefacts.get_or_train(artefact)
            return super().fit(data, context)

    assert "failed" not in outcomes(Trains).values()
    assert len(trained) == len(set(trained)) == 4  # two for determinism, one with other test events, one for memory


def test_what_the_machine_lacks_is_no_failed_check() -> None:
    class NeedsAPackage(Good):
        def fit(self, data, context):
            raise UnavailableError("There is no such package.", "Install it.")

    with pytest.raises(UnavailableError):
        check_method(NeedsAPackage)
