"""RecBole's models as methods: training, checkpoints, joint corpora, scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines.recbole_models.building import RecBoleSettings, build
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import contained, seeded
from baselines.recbole_models.methods import bert4rec, by_name, joint_sasrec, sasrec, sasrec_bce
from baselines.recbole_models.scoring import RecBoleScorer, last_items
from baselines.recbole_models.training import load_scorer, train_model
from baselines.recbole_models.training_paths import find_path
from harness.data.prepare import prepare
from harness.errors import HarnessError
from harness.evaluation.rank_scorer import rank_full, validation_ndcg
from harness.methods.registry import make_method
from harness.protocol.metrics import hr, mrr, ndcg
from harness.protocol.split import Histories, LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from tests.conftest import domain_of, toy_raw
from tests.contexts import make_context

BUDGET = Budget(trials=1, epochs=3, patience=3)


@pytest.fixture(scope="module")
def domains():
    torch.set_num_threads(1)
    return {name: LeaveOneOut().training(prepare(toy_raw(name, seed), 1)) for seed, name in enumerate("ab")}


def train(settings: RecBoleSettings, corpus: Corpus, folder: Path, budget: Budget = BUDGET):
    folder.mkdir()
    return train_model(settings, corpus, budget, 0, folder, make_context(folder))


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec", "Caser", "FPMC"])
def test_training_is_reproducible_and_records_its_path(model: str, domains, tmp_path: Path) -> None:
    settings, corpus = RecBoleSettings(model), Corpus.of(domains["a"])
    records = [train(settings, corpus, tmp_path / attempt) for attempt in "12"]
    assert records[0] == records[1]
    assert records[0].notes["training_path"] == str(find_path(settings))
    first, second = ((tmp_path / attempt / "model.safetensors").read_bytes() for attempt in "12")
    assert first == second


def test_the_best_epoch_is_saved_and_scored(domains, tmp_path: Path) -> None:
    # With a constant rate, the first epochs do not depend on the number of epochs.
    settings = RecBoleSettings("SASRec", "CE", learning_rate=0.05, schedule="constant")
    corpus = Corpus.of(domains["a"])
    record = train(settings, corpus, tmp_path / "long", Budget(1, 12, 12))
    best = int(np.argmax(record.validation))
    assert record.best_step == (best + 1) * record.steps // len(record.validation)
    scorer = load_scorer(settings, corpus, corpus.parts[0], tmp_path / "long", "cpu")
    assert validation_ndcg(scorer, domains["a"]) == pytest.approx(max(record.validation), abs=1e-12)
    # The weights are those of a training that ends at this epoch.
    train(settings, corpus, tmp_path / "short", Budget(1, best + 1, 12))
    short, long = (load_file(tmp_path / name / "model.safetensors") for name in ("short", "long"))
    for name, weights in long.items():
        torch.testing.assert_close(weights, short[name])


class _Interrupted(BaseException):
    pass


@pytest.mark.parametrize(("model", "loss"), [("SASRec", "CE"), ("SASRec", "BCE"), ("BERT4Rec", None), ("FEARec", None)])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_an_interrupted_training_is_resumed_with_the_same_result(
    model: str, loss: str | None, at: int, domains, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.recbole_models.training._SAVE_INTERVAL_S", 0.0)
    # Dropout, masks and negatives use all of the random generators.
    settings, corpus = RecBoleSettings(model, loss, learning_rate=0.02), Corpus.of(domains["a"])
    budget = Budget(1, 5, 3)
    record = train(settings, corpus, tmp_path / "whole", budget)
    epochs_reported: list[int] = []

    def interrupt(epoch: int, _: int) -> None:
        epochs_reported.append(epoch)
        if epoch == at and len(epochs_reported) == at:
            raise _Interrupted

    interrupted = tmp_path / "interrupted"
    interrupted.mkdir()
    with pytest.raises(_Interrupted):
        train_model(settings, corpus, budget, 0, interrupted, make_context(interrupted, interrupt))
    assert train_model(settings, corpus, budget, 0, interrupted, make_context(interrupted, interrupt)) == record
    epochs = len(record.validation)
    assert epochs_reported == [*range(1, at + 1), *range(at + 1, epochs + 1)]
    assert (interrupted / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_patience(domains, tmp_path: Path) -> None:
    record = train(
        RecBoleSettings("SASRec", "CE", learning_rate=0.5), Corpus.of(domains["a"]), tmp_path / "x", Budget(1, 50, 2)
    )
    assert len(record.validation) < 50
    assert len(record.validation) - 1 - int(np.argmax(record.validation)) == 2


def test_a_cosine_schedule_keeps_the_first_epoch(domains, tmp_path: Path) -> None:
    corpus = Corpus.of(domains["a"])
    records = [
        train(RecBoleSettings("SASRec", "CE", schedule=schedule, learning_rate=1e-2), corpus, tmp_path / schedule)
        for schedule in ("constant", "cosine")
    ]
    assert records[0].validation[0] == records[1].validation[0]
    weights = [load_file(tmp_path / s / "model.safetensors")["item_embedding.weight"] for s in ("constant", "cosine")]
    assert not torch.equal(*weights)


def test_losses_differ(domains, tmp_path: Path) -> None:
    corpus = Corpus.of(domains["a"])
    weights = []
    for loss in ("CE", "BPR", "BCE"):
        train(RecBoleSettings("SASRec", loss), corpus, tmp_path / loss, Budget(1, 1, 1))
        weights.append(load_file(tmp_path / loss / "model.safetensors")["item_embedding.weight"])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_joint_corpus_has_both_domains_and_scores_one(domains, tmp_path: Path) -> None:
    corpus = Corpus.of(domains["a"], domains["b"])
    assert corpus.n_items == len(domains["a"].catalogue) + len(domains["b"].catalogue)
    assert len(corpus.sequences) == len(domains["a"].train) + len(domains["b"].train)
    second = corpus.parts[1]
    for user in range(len(domains["b"].train)):
        shifted = corpus.sequences[second.first_user + user] - second.first_item
        assert shifted.tolist() == domains["b"].train[user].tolist()
    settings = RecBoleSettings("SASRec", "CE")
    record = train(settings, corpus, tmp_path / "joint")
    scorers = [load_scorer(settings, corpus, part, tmp_path / "joint", "cpu") for part in corpus.parts]
    values = [validation_ndcg(scorer, scorer.part.domain) for scorer in scorers]
    assert np.mean(values) == pytest.approx(max(record.validation), abs=1e-12)
    # Scores are those of the joint model for the target's items.
    history = domains["b"].validation.histories.block(0, 4)
    items, lengths = last_items(history.sequences, 50)
    with torch.no_grad():
        whole = scorers[1].built.model.full_sort_predict(
            {
                "item_id_list": torch.from_numpy(np.where(items > 0, items + second.first_item, 0)),
                "item_length": torch.from_numpy(lengths),
            }
        )
    np.testing.assert_allclose(scorers[1].score(history, None), whole[:, second.first_item + 1 :].numpy(), atol=1e-5)


def test_one_joint_model_serves_both_directions(domains) -> None:
    def inputs(target: str, source: str):
        data = TrainingData(target, (source,), domains)
        return joint_sasrec().artefacts(data, BUDGET, 0)[0].inputs

    assert json.dumps(inputs("a", "b")) == json.dumps(inputs("b", "a"))
    alone = sasrec().artefacts(TrainingData("a", ("b",), domains), BUDGET, 0)[0].inputs
    assert alone != inputs("a", "b")


def test_the_number_of_trials_is_not_part_of_the_key(domains) -> None:
    data = TrainingData("a", ("b",), domains)
    many, one = (sasrec().artefacts(data, Budget(trials, 3, 3), 0)[0].inputs for trials in (9, 1))
    assert many == one


def test_methods_with_different_losses_share_model_and_space() -> None:
    assert sasrec().space == sasrec_bce().space
    assert (sasrec().settings.loss, sasrec_bce().settings.loss) == ("CE", "BCE")
    tuned = sasrec().tuned({"learning_rate": 0.1, "parameters.hidden_size": 32})
    assert (tuned.settings.learning_rate, tuned.settings.parameters["hidden_size"]) == (0.1, 32)


def test_any_model_by_name() -> None:
    assert make_method("recbole.NARM").settings == by_name("NARM").settings  # type: ignore[attr-defined]
    with pytest.raises(HarnessError, match=r"SASRex.*Did you mean.*SASRec"):
        make_method("recbole.SASRex")
    with pytest.raises(HarnessError, match="recbole"):
        make_method("recbole")


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BERT4Rec", "Caser", "NARM", "FPMC"])
def test_scores_do_not_depend_on_the_batch(model: str) -> None:
    sequences = domain_of([[1, 2, 3], [4] * 12, [], [7]], 20)
    corpus = Corpus.of(LeaveOneOut().training(sequences))
    settings = RecBoleSettings(model, max_length=8, stride=4)
    with seeded(0):
        built = build(settings, corpus, prefixes=True)
    scorer = RecBoleScorer(built, corpus.parts[0], 8, find_path(settings))
    batch_scores = scorer.score(Histories(np.arange(4), sequences.interactions), None)
    assert batch_scores.shape == (4, 20)
    for row in range(4):
        alone = scorer.score(Histories(np.array([row]), sequences.interactions.select(np.array([row]))), None)
        np.testing.assert_allclose(alone[0], batch_scores[row], atol=1e-5)
    candidate_scores = scorer.score(Histories(np.arange(4), sequences.interactions), np.tile([3, 5], (4, 1)))
    np.testing.assert_array_equal(candidate_scores, batch_scores[:, [3, 5]])


def test_last_items() -> None:
    items, lengths = last_items(domain_of([list(range(10)), [3], []], 20).interactions, 4)
    assert items.tolist() == [[7, 8, 9, 10], [4, 0, 0, 0], [0, 0, 0, 0]]
    assert lengths.tolist() == [4, 1, 1]


def test_metrics_equal_those_of_recboles_evaluator(domains, tmp_path: Path) -> None:
    """On RecBole's score matrix, with the history among the candidates as in RecBole."""
    from recbole.config import Config
    from recbole.evaluator import Collector, Evaluator

    whole = prepare(toy_raw("a", 0), 1)
    corpus = Corpus.of(domains["a"])
    settings = RecBoleSettings("SASRec", "CE")
    train(settings, corpus, tmp_path / "x")
    scorer = load_scorer(settings, corpus, corpus.parts[0], tmp_path / "x", "cpu")
    test = LeaveOneOut().test(whole)
    scores = scorer.score(test.histories, None)
    assert all(len(set(row)) == len(row) for row in scores.tolist())  # no ties
    parameters = {
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": [1, 3, 5, 10, 20],
        "metric_decimal_place": 15,
        "data_path": "none",
        "train_neg_sample_args": None,
    }
    rows = torch.arange(len(test.targets))
    matrix = torch.cat([torch.full((len(rows), 1), -torch.inf), torch.from_numpy(scores)], dim=1)
    with contained():
        config = Config(model="SASRec", dataset="none", config_dict=parameters)
        collector = Collector(config)
        collector.eval_batch_collect(matrix, None, rows, torch.tensor(test.targets) + 1)
        expected = Evaluator(config).evaluate(collector.get_data_struct())
    ranks = rank_full(scorer, test, len(whole.catalogue), keep_history=True)
    for k in (1, 3, 5, 10, 20):
        for name, metric in (("hit", hr), ("ndcg", ndcg), ("mrr", mrr)):
            assert metric(ranks, k).mean() == pytest.approx(expected[f"{name}@{k}"], abs=1e-9)


def test_bert4rec_with_users_who_have_the_whole_catalogue(tmp_path: Path) -> None:
    """In training, in validation (completed by the last but one event), or in the test history."""
    whole = domain_of([[*range(6), 0, 1], [*range(6), 0], [0, 1, 2, 3, 4, 5, 2], [1, 2, 3, 1], [3, 2, 1, 0]], 6)
    training = LeaveOneOut().training(whole)
    data = TrainingData("toy", (), {"toy": training})
    bert4rec().check_data(data)
    settings, corpus = bert4rec().settings, Corpus.of(training)
    record = train(settings, corpus, tmp_path / "bert4rec", Budget(1, 2, 2))
    assert np.isfinite(record.validation).all()
    scorer = load_scorer(settings, corpus, corpus.parts[0], tmp_path / "bert4rec", "cpu")
    assert np.isfinite(scorer.score(LeaveOneOut().test(whole).histories, None)).all()
    with pytest.raises(HarnessError, match="1 of 5 users of toy have all 6 items in training"):
        sasrec_bce().check_data(data)
