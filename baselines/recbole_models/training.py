"""Train RecBole's models: the loop over epochs, early stopping, and loading of the trained weights."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from baselines.recbole_models.building import Built, RecBoleSettings, build
from baselines.recbole_models.corpus import Corpus, Part
from baselines.recbole_models.dataset import contained, seeded
from baselines.recbole_models.scoring import RecBoleScorer
from baselines.recbole_models.softmax import catalogue_softmax, product_type
from baselines.recbole_models.training_paths import TrainingPath, check_negatives, epoch_batches, find_path
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.artefact import MakeContext
from harness.protocol.suite import Budget
from harness.training.checkpoint import TrainingLoopState
from harness.training.early_stopping import EarlyStopping
from harness.training.record import TrainingRecord
from harness.training.schedule import cosine_factor

_WEIGHTS = "model.safetensors"

#: Seconds between two checkpoints, which are written at the end of epochs.
_SAVE_INTERVAL_S = 60.0


def train_model(
    settings: RecBoleSettings,
    corpus: Corpus,
    budget: Budget,
    seed: int,
    folder: Path,
    making: MakeContext,
) -> TrainingRecord:
    """Train a model and write the weights of its best epoch to `model.safetensors`.

    The best epoch has the highest validation NDCG@10, averaged over the corpus's domains. An interrupted training is
    resumed from its last checkpoint, with the same final weights as without the interruption.
    """
    check_negatives(settings, corpus)
    path = find_path(settings)
    products = product_type(settings.precision, making.device)
    stopping: EarlyStopping[dict[str, torch.Tensor]] = EarlyStopping(budget.patience)
    first_epoch, n_steps = 1, 0
    with seeded(seed):
        built = _built(settings, corpus, path, making.device)
        model = built.model
        rng = np.random.default_rng(seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        weights = partial(_weights, built)
        state = TrainingLoopState(
            making.checkpoint, optimiser, stopping, weights, model.load_state_dict, _SAVE_INTERVAL_S, rng
        )
        if (progress := state.restore()) is not None:
            first_epoch, n_steps = progress["epoch"] + 1, progress["steps"]
        for epoch in range(first_epoch, budget.epochs + 1):
            if stopping.exhausted:
                break
            factor = 1.0 if settings.schedule == "constant" else cosine_factor(epoch - 1, budget.epochs)
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * factor
            model.train()
            n_steps += train_epoch(built, corpus, path, settings, optimiser, rng, products)
            score = float(np.mean([validation_ndcg(s, s.part.domain) for s in _scorers(built, corpus, settings, path)]))
            stopping.update(score, n_steps, weights)
            if state.due:
                state.save({"epoch": epoch, "steps": n_steps})
            making.report(epoch, budget.epochs)
    assert stopping.state is not None  # noqa: S101 - the first epoch validates
    save_file(stopping.state, folder / _WEIGHTS)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    notes = {
        "training_path": str(path),
        "products": str(products).removeprefix("torch."),
        "prefixes": {p.domain.name: len(stopping.curve) * _prefixes(p) for p in corpus.parts},
        "stopped_by": "patience" if stopping.exhausted else "cap on epochs",
    }
    return stopping.record(n_steps, parameters, notes)


def train_epoch(
    built: Built,
    corpus: Corpus,
    path: TrainingPath,
    settings: RecBoleSettings,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    products: torch.dtype = torch.float32,
) -> int:
    """Train on every prefix once; returns the number of optimiser steps."""
    n_steps = 0
    for batch in epoch_batches(built, corpus, path, settings, rng):
        with contained(), catalogue_softmax(built.model.n_items, products, batch.left_out):
            loss = batch.loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        n_steps += 1
    return n_steps


def load_scorer(settings: RecBoleSettings, corpus: Corpus, part: Part, folder: Path, device: str) -> RecBoleScorer:
    """The scorer of one domain of a trained model's corpus."""
    path = find_path(settings)
    built = _built(settings, corpus, path, device)
    built.model.load_state_dict(load_file(folder / _WEIGHTS))
    return RecBoleScorer(built, part, settings.max_length, path)


def _built(settings: RecBoleSettings, corpus: Corpus, path: TrainingPath, device: str) -> Built:
    built = build(settings, corpus, prefixes=path is not TrainingPath.ONE_PASS)
    built.model.to(device)
    return built


def _scorers(built: Built, corpus: Corpus, settings: RecBoleSettings, path: TrainingPath) -> list[RecBoleScorer]:
    # Under a split by time, a source may have no validation events.
    parts = [part for part in corpus.parts if len(part.domain.validation.targets)]
    return [RecBoleScorer(built, part, settings.max_length, path) for part in parts]


def _prefixes(part: Part) -> int:
    """Training prefixes of a domain: events with an earlier one of the same user."""
    return int(np.maximum(part.domain.train.lengths - 1, 0).sum())


def _weights(built: Built) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in built.model.state_dict().items()}
