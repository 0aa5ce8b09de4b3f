"""Training paths of RecBole's models give the loss and gradients of RecBole's own samples."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.recbole_models.building import BinaryCrossEntropy, RecBoleSettings, build, sequential_models
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import seeded
from baselines.recbole_models.softmax import catalogue_softmax
from baselines.recbole_models.training_paths import (
    NegativeSampler,
    TrainingPath,
    check_negatives,
    earlier_items,
    epoch_batches,
    find_path,
    is_pairwise,
    last_targets,
    one_pass_loss,
    per_prefix_loss,
    probe_corpus,
    trim,
)
from harness.errors import HarnessError
from harness.protocol.split import LeaveOneOut
from harness.training.windows import windows_of
from tests.conftest import domain_of

ONE_PASS = ["SASRec", "GRU4Rec", "FDSA", "SASRecF", "GRU4RecF"]
TRIMMED = ["BERT4Rec", "NARM", "FPMC", "CORE", "SRGNN", "TransRec"]
WHOLE = ["Caser", "LightSANs", "FEARec", "NextItNet"]
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0,
    "dropout_probs": [0.0, 0.0],
    "sess_dropout": 0.0,
    "item_dropout": 0.0,
}


@pytest.mark.parametrize(
    ("model", "path"),
    [(model, TrainingPath.ONE_PASS) for model in ONE_PASS]
    + [(model, TrainingPath.TRIMMED) for model in TRIMMED]
    + [(model, TrainingPath.WHOLE) for model in WHOLE],
)
def test_find_path(model: str, path: TrainingPath) -> None:
    assert find_path(RecBoleSettings(model)) is path


def losses_and_gradients(settings: RecBoleSettings, path: TrainingPath):
    """Loss and gradients of the same prefixes: on the path with blockwise softmax, and on RecBole's samples."""
    corpus = probe_corpus()
    sampler = NegativeSampler(corpus.sequences, corpus.n_items)
    rows = np.arange(int(np.maximum(corpus.sequences.lengths - 1, 0).sum()))
    windows = windows_of(corpus.sequences, settings.max_length, settings.stride)
    outcomes = []
    for ours in (True, False):
        with seeded(0):
            built = build(settings, corpus, prefixes=True)
            rng = np.random.default_rng(0)
            built.model.train()
            with seeded(1):
                if not ours:
                    loss = per_prefix_loss(built, rows, sampler, rng, trimmed=False)
                else:
                    with catalogue_softmax(built.model.n_items):
                        if path is TrainingPath.ONE_PASS:
                            loss = one_pass_loss(built, windows, sampler, rng)
                        else:
                            loss = per_prefix_loss(built, rows, sampler, rng, trimmed=path is TrainingPath.TRIMMED)
            loss.backward()
        gradients = {n: p.grad for n, p in built.model.named_parameters() if p.grad is not None}
        outcomes.append((loss.item(), gradients))
    return outcomes


@pytest.mark.parametrize(
    ("model", "loss"),
    [(m, None) for m in (*ONE_PASS, *TRIMMED, *WHOLE)]
    + [(m, loss) for m in ("SASRec", "GRU4Rec", "NARM", "Caser") for loss in ("BPR", "BCE")],
)
def test_loss_and_gradients_equal_those_of_recboles_samples(model: str, loss: str | None) -> None:
    settings = RecBoleSettings(model, loss, NO_DROPOUT, batch=64)
    path = find_path(settings)
    (loss_value, gradients), (expected_loss, expected_gradients) = losses_and_gradients(settings, path)
    assert loss_value == pytest.approx(expected_loss, abs=1e-6)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_the_masked_loss_equals_a_masked_softmax_over_all_scores(model: str) -> None:
    corpus = probe_corpus()
    settings = RecBoleSettings(model, "masked CE", NO_DROPOUT, batch=10_000)
    with seeded(0):
        built = build(settings, corpus, prefixes=False)
    (batch,) = epoch_batches(built, corpus, TrainingPath.ONE_PASS, settings, np.random.default_rng(0))
    with catalogue_softmax(built.model.n_items, left_out=batch.left_out):
        loss = batch.loss()
    losses = []
    for user in range(len(corpus.sequences)):
        items = torch.from_numpy(corpus.sequences[user] + 1)
        for end in range(1, len(items)):
            states = built.model.forward(items[None, :end], torch.tensor([end]))
            scores = (states @ built.model.item_embedding.weight.T)[0]
            seen = [int(item) for item in items[:end] if item != items[end]]
            scores[seen] = -torch.inf
            losses.append(scores.logsumexp(0) - scores[items[end]])
    expected = torch.stack(losses).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    weight = built.model.item_embedding.weight
    gradients = [torch.autograd.grad(value, weight)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("max_length", "stride"), [(50, 25), (4, 2), (3, 1)])
def test_earlier_items_are_those_before_the_target(max_length: int, stride: int) -> None:
    sequences = probe_corpus().sequences
    windows = windows_of(sequences, max_length, stride)
    left_out = earlier_items(sequences, windows, last_targets(windows), torch.device("cpu"))
    expected = []
    for items in sequences:
        for end in range(1, len(items)):
            expected.append(sorted(item + 1 for item in items[:end] if item != items[end]))
    actual = [sorted(left_out.items[left_out.rows == row].tolist()) for row in range(len(expected))]
    assert actual == expected


def test_a_model_that_needs_its_prefixes_has_no_masked_loss() -> None:
    with pytest.raises(HarnessError, match="NARM cannot train every prefix in one pass"):
        find_path(RecBoleSettings("NARM", "masked CE"))


@pytest.mark.parametrize(("model", "loss"), [("BERT4Rec", "BCE"), ("TransRec", "BCE"), ("TransRec", "CE")])
def test_unsupported_losses_raise(model: str, loss: str) -> None:
    with pytest.raises(HarnessError, match=f"RecBole's {model} has a loss of its own"):
        find_path(RecBoleSettings(model, loss))


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_a_stride_of_one_equals_recboles_sliding_prefixes(model: str) -> None:
    # Sequences have up to nine items, of which a state may depend on four.
    settings = RecBoleSettings(model, "CE", NO_DROPOUT, max_length=4, stride=1)
    (loss_value, gradients), (expected_loss, expected_gradients) = losses_and_gradients(settings, TrainingPath.ONE_PASS)
    assert loss_value == pytest.approx(expected_loss, abs=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-6, rtol=1e-4, msg=name)
    # With a longer stride the loss is different: some states depend on fewer items.
    (approximation, _), _ = losses_and_gradients(
        RecBoleSettings(model, "CE", NO_DROPOUT, max_length=4, stride=3), TrainingPath.ONE_PASS
    )
    assert approximation != pytest.approx(expected_loss, abs=1e-6)


def test_samples_are_recboles() -> None:
    corpus = probe_corpus()
    built = build(RecBoleSettings("SASRec", max_length=4), corpus, prefixes=True)
    samples = built.dataset.inter_feat
    expected = [(s[:end][-4:] + 1, s[end] + 1) for s in corpus.sequences for end in range(1, len(s))]
    assert len(samples) == len(expected)
    for row, (prefix, target) in enumerate(expected):
        assert samples["item_id"][row] == target
        assert samples["item_id_list"][row].tolist() == [*prefix, *[0] * (4 - len(prefix))]


def test_binary_cross_entropy() -> None:
    positive, negative = torch.randn(20, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    scores, labels = torch.cat([positive, negative]), torch.cat([torch.ones(20), torch.zeros(20)]).double()
    expected = 2 * torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    torch.testing.assert_close(BinaryCrossEntropy()(positive, negative), expected)


def test_negatives_are_uniform_outside_a_user_s_items() -> None:
    sequences = domain_of([[0, 1, 2, 1], [4]], 5).interactions
    rng = np.random.default_rng(0)
    negatives = NegativeSampler(sequences, 5).negatives(np.repeat([0, 1], 6000), rng)
    counts = np.stack([np.bincount(part, minlength=5) for part in np.split(negatives, 2)])
    assert (counts[0, :3] == 0).all()
    assert counts[1, 4] == 0
    np.testing.assert_allclose(counts[0, 3:], 3000, rtol=0.06)
    np.testing.assert_allclose(counts[1, :4], 1500, rtol=0.1)


@pytest.mark.parametrize("n_items", [2, 40, 500])
def test_the_only_possible_negative_is_drawn(n_items: int) -> None:
    missing = n_items // 2
    sequences = domain_of([[item for item in range(n_items) if item != missing], [0]], n_items).interactions
    negatives = NegativeSampler(sequences, n_items).negatives(np.array([0, 1] * 20), np.random.default_rng(0))
    assert (negatives[::2] == missing).all()
    assert (negatives[1::2] > 0).all()


def test_items_without_training_events_can_be_negatives() -> None:
    negatives = NegativeSampler(domain_of([[0, 1]], 4).interactions, 4).negatives(
        np.zeros(500, dtype=np.int64), np.random.default_rng(0)
    )
    assert set(negatives.tolist()) == {2, 3}


def corpus_of(sequences: list[list[int]], n_items: int) -> Corpus:
    return Corpus.of(LeaveOneOut().training(domain_of(sequences, n_items)))


EVERYTHING = [*range(6), 0, 0]
"""A history with all of six items before the last two events."""


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (RecBoleSettings("SASRec", "BCE"), True),
        (RecBoleSettings("SASRec", "BPR"), True),
        (RecBoleSettings("FPMC"), True),
        (RecBoleSettings("BERT4Rec", "BPR"), True),
        (RecBoleSettings("BERT4Rec"), False),
        (RecBoleSettings("SASRec", "CE"), False),
    ],
)
def test_check_negatives(settings: RecBoleSettings, refused: bool) -> None:
    check_negatives(settings, corpus_of([[0, 1, 2, 3, 4], [0, 1, 2]], 6))
    if refused:
        with pytest.raises(HarnessError, match=r"1 of 2 users of toy have all 6 items in training"):
            check_negatives(settings, corpus_of([EVERYTHING, [0, 1, 2]], 6))
    else:
        check_negatives(settings, corpus_of([EVERYTHING, [0, 1, 2]], 6))


def test_masking_ends_for_a_sample_with_the_whole_catalogue() -> None:
    corpus = corpus_of([EVERYTHING, [0, 1, 2, 3]], 6)
    with seeded(0):
        built = build(RecBoleSettings("BERT4Rec"), corpus, prefixes=True)
    rows = np.arange(len(built.dataset.inter_feat))
    for attempt in range(20):
        with seeded(attempt):
            masked = built.transform(built.dataset, built.dataset.inter_feat[rows])
            negatives, positives = masked["Neg_item_id"].numpy(), masked["Pos_item_id"].numpy()
        for sample, drawn, masked_items in zip(masked["item_id_list"].numpy(), negatives, positives, strict=True):
            assert set(drawn[masked_items > 0]).isdisjoint(set(sample[sample > 0]))


@pytest.mark.parametrize(
    ("model", "expected"), [("SASRec", False), ("FPMC", True), ("BERT4Rec", False), ("HRM", False)]
)
def test_is_pairwise(model: str, expected: bool) -> None:
    assert is_pairwise(build(RecBoleSettings(model), probe_corpus(), prefixes=False)) is expected


def test_trimming_keeps_fields_of_equal_width_aligned() -> None:
    from recbole.data import Interaction

    positions = torch.tensor([[0, 1, 0, 0]])
    items = torch.tensor([[5, 6, 0, 0]])
    trimmed = trim(Interaction({"items": items, "positions": positions, "one": torch.tensor([3])}))
    assert trimmed["items"].tolist() == [[5, 6]]
    assert trimmed["positions"].tolist() == [[0, 1]]


def test_each_model_of_recbole_is_usable_or_raises() -> None:
    usable = set()
    for model in sequential_models():
        try:
            find_path(RecBoleSettings(model))
            usable.add(model)
        except HarnessError as error:
            assert model in str(error)  # noqa: PT017
    assert set(sequential_models()) - usable == {"DIEN", "DIN", "GRU4RecKG", "KSR", "S3Rec"}


def test_an_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match=r"SASRex.*SASRec"):
        find_path(RecBoleSettings("SASRex"))


def test_recbole_does_not_change_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "--learning_rate=9", "--seed=1", "--seed=2"])
    environment = dict(os.environ)
    random.seed(5)
    with seeded(1):
        built = build(RecBoleSettings("FEARec"), Corpus.of(*(p.domain for p in probe_corpus().parts)), prefixes=True)
    assert built.model.max_seq_length == 50
    after = random.random()
    random.seed(5)
    assert after == random.random()
    assert sys.argv[1:] == ["--learning_rate=9", "--seed=1", "--seed=2"]
    assert dict(os.environ) == environment
    assert not torch.is_anomaly_enabled()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
