"""Our ways of training RecBole's models, held against RecBole's own samples and data loader."""

import os
import random
import sys
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch

from baselines.recbole_models.building import BinaryCrossEntropy, RecBoleSettings, build, sequential_models
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import seeded
from baselines.recbole_models.softmax import catalogue_softmax
from baselines.recbole_models.training_paths import (
    Path,
    Seen,
    check_negatives,
    find_path,
    one_pass_loss,
    pairwise,
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
    [(m, p) for p, models in ((Path.ONE_PASS, ONE_PASS), (Path.TRIMMED, TRIMMED), (Path.WHOLE, WHOLE)) for m in models],
)
def test_a_model_takes_the_cheapest_path_it_can(model: str, path: Path) -> None:
    assert find_path(RecBoleSettings(model)) is path


def ours_and_recboles(settings: RecBoleSettings, path: Path):
    """Loss and gradients of the same prefixes: on our path with our softmax, and on RecBole's samples with torch's."""
    corpus = probe_corpus()
    seen = Seen(corpus.sequences, corpus.n_items)
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
                    loss = per_prefix_loss(built, rows, seen, rng, trimmed=False)
                else:
                    with catalogue_softmax(built.model.n_items):
                        if path is Path.ONE_PASS:
                            loss = one_pass_loss(built, windows, seen, rng)
                        else:
                            loss = per_prefix_loss(built, rows, seen, rng, trimmed=path is Path.TRIMMED)
            loss.backward()
        gradients = {n: p.grad for n, p in built.model.named_parameters() if p.grad is not None}
        outcomes.append((loss.item(), gradients))
    return outcomes


@pytest.mark.parametrize(
    ("model", "loss"),
    [(m, None) for m in (*ONE_PASS, *TRIMMED, *WHOLE)]
    + [(m, loss) for m in ("SASRec", "GRU4Rec", "NARM", "Caser") for loss in ("BPR", "BCE")],
)
def test_loss_and_gradients_are_those_of_recboles_samples(model: str, loss: str | None) -> None:
    settings = RecBoleSettings(model, loss, NO_DROPOUT, batch=64)
    path = find_path(settings)
    (found, own), (wanted, theirs) = ours_and_recboles(settings, path)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert own.keys() == theirs.keys()
    for name, gradient in own.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize(("model", "loss"), [("BERT4Rec", "BCE"), ("TransRec", "BCE"), ("TransRec", "CE")])
def test_a_loss_that_a_model_would_not_use_is_refused(model: str, loss: str) -> None:
    with pytest.raises(HarnessError, match=f"RecBole's {model} has a loss of its own"):
        find_path(RecBoleSettings(model, loss))


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec"])
def test_long_sequences_with_a_stride_of_one_are_recboles_sliding_prefixes(model: str) -> None:
    # Sequences of up to nine items, of which a state may depend on four.
    settings = RecBoleSettings(model, "CE", NO_DROPOUT, max_length=4, stride=1)
    (found, own), (wanted, theirs) = ours_and_recboles(settings, Path.ONE_PASS)
    assert found == pytest.approx(wanted, abs=1e-6)
    for name, gradient in own.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-6, rtol=1e-4, msg=name)
    # With a longer stride they are near, not equal: some states see less.
    (near, _), _ = ours_and_recboles(RecBoleSettings(model, "CE", NO_DROPOUT, max_length=4, stride=3), Path.ONE_PASS)
    assert near != pytest.approx(wanted, abs=1e-6)


def test_the_samples_are_recboles_own() -> None:
    corpus = probe_corpus()
    built = build(RecBoleSettings("SASRec", max_length=4), corpus, prefixes=True)
    samples = built.dataset.inter_feat
    wanted = [(s[:end][-4:] + 1, s[end] + 1) for s in corpus.sequences for end in range(1, len(s))]
    assert len(samples) == len(wanted)
    for row, (prefix, target) in enumerate(wanted):
        assert samples["item_id"][row] == target
        assert samples["item_id_list"][row].tolist() == [*prefix, *[0] * (4 - len(prefix))]


def test_the_paper_s_loss_is_binary_cross_entropy() -> None:
    positive, negative = torch.randn(20, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    scores, labels = torch.cat([positive, negative]), torch.cat([torch.ones(20), torch.zeros(20)]).double()
    wanted = 2 * torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    torch.testing.assert_close(BinaryCrossEntropy()(positive, negative), wanted)


def test_negatives_are_uniform_outside_a_user_s_items() -> None:
    sequences = domain_of([[0, 1, 2, 1], [4]], 5).interactions
    rng = np.random.default_rng(0)
    drawn = Seen(sequences, 5).negatives(np.repeat([0, 1], 6000), rng)
    counts = np.stack([np.bincount(part, minlength=5) for part in np.split(drawn, 2)])
    assert (counts[0, :3] == 0).all()
    assert counts[1, 4] == 0
    np.testing.assert_allclose(counts[0, 3:], 3000, rtol=0.06)
    np.testing.assert_allclose(counts[1, :4], 1500, rtol=0.1)


@pytest.mark.parametrize("n_items", [2, 40, 500])
def test_the_one_item_that_a_user_lacks_is_the_negative(n_items: int) -> None:
    lacked = n_items // 2
    sequences = domain_of([[item for item in range(n_items) if item != lacked], [0]], n_items).interactions
    drawn = Seen(sequences, n_items).negatives(np.array([0, 1] * 20), np.random.default_rng(0))
    assert (drawn[::2] == lacked).all()
    assert (drawn[1::2] > 0).all()


def test_negatives_come_from_items_without_training_events_too() -> None:
    drawn = Seen(domain_of([[0, 1]], 4).interactions, 4).negatives(
        np.zeros(500, dtype=np.int64), np.random.default_rng(0)
    )
    assert set(drawn.tolist()) == {2, 3}


def corpus_of(sequences: list[list[int]], n_items: int) -> Corpus:
    return Corpus.of(LeaveOneOut().training(domain_of(sequences, n_items)))


EVERYTHING = [*range(6), 0, 0]
"""Of six items, a history that holds them all before the last two events."""


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
def test_a_user_without_negatives_is_refused_where_the_loss_wants_some(
    settings: RecBoleSettings, refused: bool
) -> None:
    check_negatives(settings, corpus_of([[0, 1, 2, 3, 4], [0, 1, 2]], 6))
    if refused:
        with pytest.raises(HarnessError, match=r"1 of 2 users of toy have all 6 items in training"):
            check_negatives(settings, corpus_of([EVERYTHING, [0, 1, 2]], 6))
    else:
        check_negatives(settings, corpus_of([EVERYTHING, [0, 1, 2]], 6))


def test_masking_ends_where_a_sample_holds_the_whole_catalogue() -> None:
    corpus = corpus_of([EVERYTHING, [0, 1, 2, 3]], 6)
    with seeded(0):
        built = build(RecBoleSettings("BERT4Rec"), corpus, prefixes=True)
    rows = np.arange(len(built.dataset.inter_feat))
    for attempt in range(20):
        with seeded(attempt):
            masked = built.transform(built.dataset, built.dataset.inter_feat[rows])
            negatives, positives = masked["Neg_item_id"].numpy(), masked["Pos_item_id"].numpy()
        for sample, drawn, lost in zip(masked["item_id_list"].numpy(), negatives, positives, strict=True):
            assert set(drawn[lost > 0]).isdisjoint(set(sample[sample > 0]))


@pytest.mark.parametrize(("model", "wants"), [("SASRec", False), ("FPMC", True), ("BERT4Rec", False), ("HRM", False)])
def test_who_wants_negatives(model: str, wants: bool) -> None:
    assert pairwise(build(RecBoleSettings(model), probe_corpus(), prefixes=False)) is wants


def test_trimming_leaves_fields_of_a_width_aligned() -> None:
    from recbole.data import Interaction

    places = torch.tensor([[0, 1, 0, 0]])
    items = torch.tensor([[5, 6, 0, 0]])
    trimmed = trim(Interaction({"items": items, "places": places, "one": torch.tensor([3])}))
    assert trimmed["items"].tolist() == [[5, 6]]
    assert trimmed["places"].tolist() == [[0, 1]]


def test_every_model_of_recbole_is_usable_or_says_why_not() -> None:
    usable = set()
    for model in sequential_models():
        try:
            find_path(RecBoleSettings(model))
            usable.add(model)
        except HarnessError as error:
            assert model in str(error)  # noqa: PT017
    assert set(sequential_models()) - usable == {"DIEN", "DIN", "GRU4RecKG", "KSR", "S3Rec"}


def test_an_unknown_model_is_named_with_its_like() -> None:
    with pytest.raises(HarnessError, match=r"SASRex.*SASRec"):
        find_path(RecBoleSettings("SASRex"))


def test_recbole_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: FilePath, capfd) -> None:
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
