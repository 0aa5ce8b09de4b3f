"""Estimates of a ranker's trainings and scoring, against what goes through the model."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.prepare import prepare
from harness.evaluation.rank_scorer import rank_candidates, rank_full
from harness.methods.api import EstimatesScoring, FitContext
from harness.protocol.split import HeldOut, LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts
from harness.run.estimate import SHARE_REACHED, matrix_rate
from harness.storage.store import Store
from tests.conftest import toy_raw
from tests.weaverec.decoders import decoder
from tests.weaverec.ranker.films import comedies, skip_without_smollm2
from weaverec.lm.backbone import find_backbone, load, sizes_of
from weaverec.merging.method import MergedModel
from weaverec.merging.search import TRIES
from weaverec.ranker.cost import forward_flops
from weaverec.ranker.method import by_name

BUDGET = Budget(1, 3, 9)


def data() -> TrainingData:
    domains = {name: LeaveOneOut().training(prepare(toy_raw(name, i, 30, 40), 1)) for i, name in enumerate("ab")}
    return TrainingData("a", ("b",), domains)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(decoder("llama", tmp_path / "base").folder)


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the tokens that go through a model, by what they are for."""
    from weaverec.ranker import scorer, train

    counts: Counter[str] = Counter()

    def counted(function: Callable[..., Any], kind: str, size: Callable[..., int]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            counts[kind] += size(*arguments)
            return function(*arguments)

        return wrapped

    def of_examples(_: Any, batch: Any, __: int) -> int:
        return sum(len(example.prompt) + len(example.answer) for example in batch)

    def of_prompt(_: Any, prompt: Any, answers: Any) -> int:
        return len(prompt) + sum(map(len, answers))

    monkeypatch.setattr(train, "answer_loss", counted(train.answer_loss, "trained", of_examples))
    monkeypatch.setattr(scorer, "likelihoods", counted(scorer.likelihoods, "read", of_prompt))
    return counts


def method(backbone: str, name: str = "target-only", **more: Any) -> MergedModel:
    steps = {"steps": 4, "batch": 8, "validate_every": 2, "validation_users": 6, "prompt.candidates": 12}
    return by_name(name).tuned({"backbone": backbone, **steps, "weights": "float32", **more})


def context(folder: Path) -> FitContext:
    return FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(folder), "cpu", lambda *_: None))


def test_a_training_reads_as_many_tokens_as_estimated(folder: str, tmp_path: Path, tokens: Counter[str]) -> None:
    ranker = method(folder)
    (artefact,) = ranker.artefacts(data(), BUDGET, 0)
    estimated = artefact.estimate()
    context(tmp_path / "store").artefacts.get_or_train(artefact)
    assert tokens["trained"] > 0.3 * tokens["read"] > 0
    assert estimated.tokens == pytest.approx(tokens["trained"] + tokens["read"], rel=0.1)
    # Four operations a weight and token in training, and two in validation; the vocabulary's on answers only.
    backbone = find_backbone(folder)
    body = sizes_of(backbone).multiplied * (4 * tokens["trained"] + 2 * tokens["read"])
    assert body < estimated.flops < 1.5 * body


@pytest.mark.parametrize("name", ["zero-shot", "weaverec-chosen"])
def test_scoring_reads_as_many_tokens_as_estimated(
    folder: str, tmp_path: Path, tokens: Counter[str], name: str
) -> None:
    ranker, of_scenario = method(folder, name), data()
    assert isinstance(ranker, EstimatesScoring)
    target = of_scenario.target_domain
    test = HeldOut(target.validation.histories, target.validation.targets, target.validation.times)
    candidates = _candidates(test)
    for artefact in ranker.artefacts(of_scenario, BUDGET, 0):
        context(tmp_path / "store").artefacts.get_or_train(artefact)
    tokens.clear()
    scorer = ranker.fit(of_scenario, context(tmp_path / "store"))
    searched = tokens["read"]
    assert (searched > 0) == (name == "weaverec-chosen")
    rank_full(scorer, test, len(target.catalogue))
    rank_candidates(scorer, test, candidates, len(target.catalogue))
    estimated = ranker.scoring_estimate(of_scenario, len(test.targets), [len(target.catalogue), 10])
    assert estimated.tokens == pytest.approx(tokens["read"], rel=0.1)
    assert searched < TRIES * tokens["read"]


def _candidates(test: HeldOut) -> np.ndarray:
    """The held-out item and nine others, ascending."""
    rng = np.random.default_rng(0)
    rows = [[target, *rng.permutation(np.setdiff1d(np.arange(40), [target]))[:9]] for target in test.targets.tolist()]
    return np.sort(np.array(rows, dtype=np.int64), axis=1)


def test_a_forward_pass_costs_two_operations_a_weight_and_token(tmp_path: Path) -> None:
    for tied in (False, True):
        backbone = decoder("llama", tmp_path / str(tied), tie_word_embeddings=tied)
        model, _ = load(backbone, "tokens")
        embedding = model.get_input_embeddings().weight.numel()
        weights = sum(p.numel() for p in model.parameters()) - (embedding if tied else 2 * embedding)
        assert forward_flops(backbone, 10, 3) == 2 * (10 * weights + 3 * embedding)


@pytest.mark.slow
def test_smollm2_takes_the_cpu_seconds_that_are_estimated(tmp_path: Path) -> None:
    """To within a factor of 1.5, training and scoring apart; of a model that has been loaded."""
    skip_without_smollm2()
    load(find_backbone("smollm2"), "tokens")
    domain = comedies()
    of_scenario = TrainingData("comedy", (), {"comedy": domain})
    ranker = method(
        "smollm2",
        weights="bfloat16",
        steps=3,
        cap=24,  # no prompts are made that are not trained on
        **{"prompt.history": 5, "prompt.answers": 1, "prompt.title_tokens": 20, "prompt.candidates": 30},
    )
    speed = SHARE_REACHED["cpu"] * matrix_rate("cpu")
    (artefact,) = ranker.artefacts(of_scenario, BUDGET, 0)
    estimated = artefact.estimate().flops / speed
    start = time.process_time()
    fitted = context(tmp_path)
    fitted.artefacts.get_or_train(artefact)
    trained = time.process_time() - start
    scorer = ranker.fit(of_scenario, fitted)
    some = domain.validation.histories.block(0, 8)
    start = time.process_time()
    scorer.score(some, None)
    scored = time.process_time() - start
    estimated_scoring = ranker.scoring_estimate(of_scenario, 8, [len(domain.catalogue)]).flops / speed
    print(f"training: {trained:.0f} s, estimated {estimated:.0f} s; ", end="")
    print(f"scoring: {scored:.1f} s, estimated {estimated_scoring:.1f} s")
    assert 1 / 1.5 < trained / estimated < 1.5
    assert 1 / 1.5 < scored / estimated_scoring < 1.5
