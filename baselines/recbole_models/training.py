"""Training RecBole's models: the loop, the choice of the best epoch, and what is kept of it."""

import math
import time
from functools import partial
from pathlib import Path as FilePath

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from baselines.recbole_models.building import Built, RecBoleSettings, build
from baselines.recbole_models.corpus import Corpus, Part
from baselines.recbole_models.dataset import contained, seeded
from baselines.recbole_models.paths import Path, check_negatives, find_path, steps
from baselines.recbole_models.scoring import RecBoleScorer
from baselines.recbole_models.softmax import catalogue_softmax, product_type
from harness.evaluation.rank import validation_ndcg
from harness.methods.artefact import MakeContext
from harness.protocol.scenario import Budget
from harness.training.checkpoint import random_state, restore_random_state, restore_training, training_state
from harness.training.early_stopping import EarlyStopping
from harness.training.record import TrainingRecord

_WEIGHTS = "model.safetensors"

#: A training is kept after the first epoch that ends so many seconds after it was kept before.
_KEEP_EVERY_S = 60.0


def train_model(
    settings: RecBoleSettings,
    corpus: Corpus,
    budget: Budget,
    seed: int,
    folder: FilePath,
    making: MakeContext,
) -> TrainingRecord:
    """Trains a model; writes `model.safetensors` with the weights of its best epoch.

    The best epoch is that with the highest validation NDCG@10, mean over the corpus's domains. A training that was
    killed goes on from one of its latest epochs, and ends with the weights it would have had.
    """
    check_negatives(settings, corpus)
    path = find_path(settings)
    products = product_type(settings.precision, making.device)
    best: EarlyStopping[dict[str, torch.Tensor]] = EarlyStopping(budget.patience)
    done = 0
    with seeded(seed):
        built = _built(settings, corpus, path, making.device)
        model = built.model
        rng = np.random.default_rng(seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        first, kept_at = 1, time.monotonic()
        if (kept := making.checkpoint.read()) is not None:
            tensors, notes = kept
            first, done = notes["epoch"] + 1, notes["steps"]
            weights_then, best_then = restore_training(tensors, optimiser)
            model.load_state_dict(weights_then)
            best.restore(notes["validation"], notes["best_step"], best_then)
            restore_random_state(rng, tensors, notes["random"])
        for epoch in range(first, budget.epochs + 1):
            if best.exhausted:
                break
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * _rate(settings.schedule, budget.epochs, epoch - 1)
            model.train()
            done += train_epoch(built, corpus, path, settings, optimiser, rng, products)
            score = float(np.mean([validation_ndcg(s, s.part.domain) for s in _scorers(built, corpus, settings, path)]))
            best.update(score, done, partial(_state, built))
            if time.monotonic() - kept_at >= _KEEP_EVERY_S:
                drawn, generators = random_state(rng)
                making.checkpoint.write(
                    {**training_state(_state(built), best.state, optimiser), **drawn},
                    {
                        "epoch": epoch,
                        "steps": done,
                        "best_step": best.best_step,
                        "validation": best.curve,
                        "random": generators,
                    },
                )
                kept_at = time.monotonic()
            making.report(epoch, budget.epochs)
    assert best.state is not None  # noqa: S101 - the first epoch validates
    save_file(best.state, folder / _WEIGHTS)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    notes = {"training_path": str(path), "products": str(products).removeprefix("torch.")}
    return best.record(done, parameters, notes)


def train_epoch(
    built: Built,
    corpus: Corpus,
    path: Path,
    settings: RecBoleSettings,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    products: torch.dtype = torch.float32,
) -> int:
    """One pass over the training prefixes; gives the number of optimiser steps."""
    done = 0
    for step in steps(built, corpus, path, settings, rng):
        with contained(), catalogue_softmax(built.model.n_items, products):
            loss = step()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        done += 1
    return done


def load_scorer(settings: RecBoleSettings, corpus: Corpus, part: Part, folder: FilePath, device: str) -> RecBoleScorer:
    """The scorer of one domain of a trained model's corpus."""
    path = find_path(settings)
    built = _built(settings, corpus, path, device)
    built.model.load_state_dict(load_file(folder / _WEIGHTS))
    return RecBoleScorer(built, part, settings.max_length, path)


def _built(settings: RecBoleSettings, corpus: Corpus, path: Path, device: str) -> Built:
    built = build(settings, corpus, prefixes=path is not Path.ONE_PASS)
    built.model.to(device)
    return built


def _scorers(built: Built, corpus: Corpus, settings: RecBoleSettings, path: Path) -> list[RecBoleScorer]:
    # Under a split by time, a source may have no validation events.
    parts = [part for part in corpus.parts if len(part.domain.validation.targets)]
    return [RecBoleScorer(built, part, settings.max_length, path) for part in parts]


def _rate(schedule: str, epochs: int, epoch: int) -> float:
    """The learning rate of an epoch (from 0 on), as a share of the first."""
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * epoch / epochs))


def _state(built: Built) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in built.model.state_dict().items()}
