"""Training RecBole's causal models: one pass over a sequence trains every prefix of it.

RecBole makes a sample of every prefix, so a sequence of n items costs n passes. Its causal models compute the
states of all positions anyway and then take one through `gather_indexes`. Here that method gives the states of
all target positions instead, and RecBole's own `calculate_loss`, given as many targets, returns the mean loss
over all prefixes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from baselines.recbole_scoring import RecBoleScorer
from harness.data.domain import Ints, Sequences
from harness.evaluate import validation_ndcg
from harness.method import Report, TrainingRecord, Trial
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining
from harness.selection import BestByValidation, best_trial


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        max_length: the latest items that a state may depend on.
        learning_rates: Adam's rates to try, the first `budget.trials` of them.
        batch: windows a step.
    """

    max_length: int = 50
    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    batch: int = 64


@dataclass(frozen=True)
class Windows:
    """Stretches of the training sequences, left-aligned, item i written as i + 1 and padding as 0.

    Attributes:
        inputs: int64 [n, max_length], the items read.
        targets: int64 [n, max_length], the item after each; 0 where it is no target of this window.
    """

    inputs: Ints
    targets: Ints


def windows_of(sequences: Sequences, max_length: int) -> Windows:
    """Cuts sequences into windows such that every event but a user's first is a target exactly once.

    A sequence of up to max_length + 1 items is one window. A longer one is read in windows that overlap by half,
    and all windows but the first have targets in their second half only: so a state has seen at least half of
    max_length items, where RecBole's sliding prefix would have shown it all of them.
    """
    half = max_length // 2
    inputs, targets = [], []
    for items in sequences:
        following = items[1:] + 1
        start = 0
        while len(following):
            # Targets of this window: positions first_target..stop of the sequence.
            stop = min(start + max_length, len(following))
            first_target = 0 if start == 0 else start + half
            if first_target >= stop:
                break
            row_in = np.zeros(max_length, dtype=np.int64)
            row_out = np.zeros(max_length, dtype=np.int64)
            row_in[: stop - start] = items[start:stop] + 1
            row_out[first_target - start : stop - start] = following[first_target:stop]
            inputs.append(row_in)
            targets.append(row_out)
            start += max_length - half
    empty = np.zeros((0, max_length), dtype=np.int64)
    return Windows(np.stack(inputs) if inputs else empty, np.stack(targets) if targets else empty)


def train_model(
    build: Callable[[], Any],
    domain: DomainTraining,
    settings: TrainingSettings,
    budget: Budget,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
) -> TrainingRecord:
    """Trains a model on one domain's training sequences; writes `model.safetensors` with its best weights."""

    def run(chosen: Mapping[str, Any]) -> tuple[Trial, dict[str, torch.Tensor]]:
        return _train_once(build, domain, settings, chosen["learning_rate"], budget, seed, device, report)

    record, weights = best_trial(
        [{"learning_rate": rate} for rate in settings.learning_rates],
        budget,
        run,
        trainable_parameters=lambda weights: sum(tensor.numel() for tensor in weights.values()),
        notes={"training_path": "every prefix in one pass"},
    )
    save_file(weights, folder / "model.safetensors")
    return record


def _train_once(
    build: Callable[[], Any],
    domain: DomainTraining,
    settings: TrainingSettings,
    learning_rate: float,
    budget: Budget,
    seed: int,
    device: str,
    report: Report,
) -> tuple[Trial, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build().to(device)
    windows = windows_of(domain.train, settings.max_length)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    best: BestByValidation[dict[str, torch.Tensor]] = BestByValidation(budget.patience)
    steps = 0

    def state() -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}

    for epoch in range(1, budget.epochs + 1):
        model.train()
        for rows in _batches(windows, settings.batch, rng):
            loss = all_prefix_loss(model, windows.inputs[rows], windows.targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
        report(epoch, budget.epochs)
        score = validation_ndcg(RecBoleScorer(model, settings.max_length), domain)
        if not best.see(score, steps, state):
            break
    assert best.state is not None  # noqa: S101 - the first epoch validates
    return best.trial({"learning_rate": learning_rate}, steps), best.state


def all_prefix_loss(model: Any, inputs: Ints, targets: Ints) -> torch.Tensor:
    """RecBole's own loss, as the mean over all target positions of some windows.

    Args:
        model: a causal RecBole model that reads its state through `gather_indexes`.
        inputs: int64 [n, max_length], as in `Windows`.
        targets: int64 [n, max_length], as in `Windows`.
    """
    device = next(model.parameters()).device
    # Columns that are padding in every row are never computed.
    width = int((inputs > 0).sum(axis=1).max())
    items = torch.from_numpy(inputs[:, :width]).to(device)
    wanted = torch.from_numpy(targets[:, :width]).to(device)
    with _gathering_all(model, wanted > 0):
        loss: torch.Tensor = model.calculate_loss(
            {
                model.ITEM_SEQ: items,
                model.ITEM_SEQ_LEN: (items > 0).sum(1),
                model.POS_ITEM_ID: wanted[wanted > 0],
            }
        )
    return loss


def _batches(windows: Windows, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Batches of windows of like length, in random order: less padding is computed."""
    lengths = (windows.inputs > 0).sum(axis=1)
    # Random order within a length, and lengths blurred a little, so that batches differ between epochs.
    order = np.argsort(lengths + rng.uniform(0, 5, len(lengths)), kind="stable")
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    for index in rng.permutation(len(batches)):
        yield batches[index]


@contextmanager
def _gathering_all(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Lets the model's `gather_indexes` give the states where the mask (bool [n, length]) holds."""
    model.gather_indexes = lambda output, _: output[mask]
    try:
        yield
    finally:
        del model.gather_indexes
