"""RecBole's models through our adapter, held against RecBole's own per-prefix way."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.recbole_models import RecBoleSettings, build_model, gru4rec, sasrec
from baselines.recbole_scoring import RecBoleScorer, last_items
from baselines.recbole_training import TrainingSettings, all_prefix_loss, train_model, windows_of
from harness.data.prepare import prepare
from harness.protocol.scenario import Budget
from harness.protocol.split import Histories, LeaveOneOut
from tests.conftest import domain_of, toy_raw

MODELS = ["SASRec", "GRU4Rec"]
LENGTH = 8


def model_of(name: str, n_items: int = 20):
    torch.manual_seed(0)
    no_dropout = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0}
    settings = RecBoleSettings(name, no_dropout, TrainingSettings(max_length=LENGTH))
    return build_model(settings, n_items).train()


def per_prefix_loss(model, sequences: list[list[int]]) -> torch.Tensor:
    """RecBole's own way: a sample for each prefix."""
    inputs, lengths, targets = [], [], []
    for sequence in sequences:
        for end in range(1, len(sequence)):
            prefix = sequence[:end][-LENGTH:]
            inputs.append([i + 1 for i in prefix] + [0] * (LENGTH - len(prefix)))
            lengths.append(len(prefix))
            targets.append(sequence[end] + 1)
    return model.calculate_loss(
        {
            model.ITEM_SEQ: torch.tensor(inputs),
            model.ITEM_SEQ_LEN: torch.tensor(lengths),
            model.POS_ITEM_ID: torch.tensor(targets),
        }
    )


@pytest.mark.parametrize("name", MODELS)
def test_one_pass_has_the_per_prefix_loss_and_gradients(name: str) -> None:
    rng = np.random.default_rng(0)
    sequences = [list(rng.integers(0, 20, n)) for n in (2, 5, 9, 9, 3)]  # up to LENGTH + 1: no window slides
    windows = windows_of(domain_of(sequences, 20).interactions, LENGTH)
    gradients = []
    losses = []
    for loss_of in (
        lambda m: all_prefix_loss(m, windows.inputs, windows.targets),
        lambda m: per_prefix_loss(m, sequences),
    ):
        model = model_of(name)
        loss = loss_of(model)
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert gradients[0].keys() == gradients[1].keys()
    for parameter, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][parameter], atol=1e-6, rtol=1e-4)


@given(st.lists(st.lists(st.integers(0, 19), max_size=40), max_size=5), st.integers(2, 9))
def test_every_event_but_the_first_is_a_target_once_after_its_own_past(sequences: list[list[int]], length: int) -> None:
    interactions = domain_of(sequences or [[]], 20).interactions
    windows = windows_of(interactions, length)
    pairs = []
    for row_in, row_out in zip(windows.inputs, windows.targets, strict=True):
        for place in np.flatnonzero(row_out):
            pairs.append((tuple(row_in[: place + 1] - 1), int(row_out[place]) - 1))
    wanted = [(tuple(s[:end]), s[end]) for s in sequences for end in range(1, len(s))]
    assert len(pairs) == len(wanted)
    for (context, target), (past, item) in zip(sorted(pairs, key=lambda p: 0), wanted, strict=True):
        assert target == item
        assert past[-len(context) :] == context
        # All of the past up to length items, and at least half of length beyond.
        assert len(context) >= min(len(past), length // 2 if len(past) > length else len(past))


@pytest.mark.parametrize("name", MODELS)
def test_scores_do_not_depend_on_who_else_is_in_the_batch(name: str) -> None:
    scorer = RecBoleScorer(model_of(name), LENGTH)
    sequences = domain_of([[1, 2, 3], [4] * 12, [], [7]], 20).interactions
    together = scorer.score(Histories(np.arange(4), sequences), None)
    assert together.shape == (4, 20)
    for row in range(4):
        alone = scorer.score(Histories(np.array([row]), sequences.select(np.array([row]))), None)
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    picked = scorer.score(Histories(np.arange(4), sequences), np.tile([3, 5], (4, 1)))
    np.testing.assert_array_equal(picked, together[:, [3, 5]])


def test_the_latest_items_are_read() -> None:
    items, lengths = last_items(domain_of([list(range(10)), [3]], 20).interactions, 4)
    assert items.tolist() == [[7, 8, 9, 10], [4, 0, 0, 0]]
    assert lengths.tolist() == [4, 1]


def test_recbole_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "--learning_rate=9", "--seed=1", "--seed=2"])
    environment = dict(os.environ)
    build_model(sasrec().settings, 10)
    assert sys.argv[1:] == ["--learning_rate=9", "--seed=1", "--seed=2"]
    assert dict(os.environ) == environment
    assert not torch.is_anomaly_enabled()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", [sasrec(), gru4rec()], ids=MODELS)
def test_training_is_repeatable_and_learns(method, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    domain = LeaveOneOut().training(prepare(toy_raw("a"), 1))
    records = []
    for attempt in ("1", "2"):
        folder = tmp_path / attempt
        folder.mkdir()
        build = lambda: build_model(method.settings, len(domain.catalogue))  # noqa: E731
        budget = Budget(trials=2, epochs=3, patience=3)
        records.append(train_model(build, domain, method.settings.training, budget, 0, folder, "cpu", lambda *_: None))
    assert records[0] == records[1]
    assert len(records[0].trials) == 2
    first, second = ((tmp_path / a / "model.safetensors").read_bytes() for a in "12")
    assert first == second
