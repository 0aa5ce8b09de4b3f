"""RecBole's sequential models as methods: the target domain alone, by item id.

Model classes and losses are RecBole's, untouched; what reads its `Config` stays in this module.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file

from baselines.recbole_scoring import RecBoleScorer
from baselines.recbole_training import TrainingSettings, train_model
from harness.method import Artefact, FitContext, Scorer
from harness.protocol.scenario import Budget
from harness.protocol.split import TrainingData


@dataclass(frozen=True)
class RecBoleSettings:
    """A RecBole model and how it is trained.

    Attributes:
        model: RecBole's name of the model.
        parameters: entries of RecBole's own configuration that differ from its defaults.
        training: the training loop's settings.
    """

    model: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True)
class RecBoleMethod:
    """One of RecBole's causal sequential models, trained on the target domain."""

    settings: RecBoleSettings

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The trained model."""
        domain = data.target_domain
        build = partial(build_model, self.settings, len(domain.catalogue))
        return [
            Artefact(
                kind="recbole",
                label=f"{self.settings.model} on {domain.name}, seed {seed}",
                inputs={
                    "domain": domain.identity,
                    "settings": asdict(self.settings),
                    "budget": asdict(budget),
                    "seed": seed,
                },
                make=partial(train_model, build, domain, self.settings.training, budget, seed),
            )
        ]

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Trains the model if it was never trained, and loads its best weights."""
        (artefact,) = self.artefacts(data, context.budget, context.seed)
        folder = context.artefacts.obtain(artefact)
        model = build_model(self.settings, len(data.target_domain.catalogue))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return RecBoleScorer(model.to(context.device), self.settings.training.max_length)


def sasrec() -> RecBoleMethod:
    """SASRec with cross-entropy (Kang and McAuley, ICDM 2018; RecBole's variant of it)."""
    return RecBoleMethod(RecBoleSettings("SASRec"))


def gru4rec() -> RecBoleMethod:
    """GRU4Rec with cross-entropy (Hidasi et al., ICLR 2016; RecBole's variant of it)."""
    training = TrainingSettings(learning_rates=(3e-3, 1e-3, 1e-2))
    return RecBoleMethod(RecBoleSettings("GRU4Rec", training=training))


def build_model(settings: RecBoleSettings, n_items: int) -> Any:
    """A fresh model over items 1..n_items (0 is padding), initialised from torch's current random state."""
    with _contained():
        # recbole.quick_start is never imported: it pulls in an old ray.
        from recbole.config import Config
        from recbole.utils import get_model

        config = Config(
            model=settings.model,
            dataset="cdsr-harness",
            config_dict={
                **settings.parameters,
                "MAX_ITEM_LIST_LENGTH": settings.training.max_length,
                "train_neg_sample_args": None,  # cross-entropy over the catalogue
                "use_gpu": False,  # the caller moves the model
                "data_path": "no data is read",
            },
        )
        return get_model(settings.model)(config, _ItemCount(n_items + 1))


@dataclass(frozen=True)
class _ItemCount:
    """All that these models ask of RecBole's dataset."""

    n_items: int

    def num(self, _: str) -> int:
        return self.n_items


@contextmanager
def _contained() -> Iterator[None]:
    """Undoes what RecBole does to the whole process.

    Its `Config` reads the command line and hides the GPU; importing its models (sine.py) turns on autograd's
    anomaly detection, which slows down every training in the process.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    environment = dict(os.environ)
    anomaly = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        sys.argv = arguments
        torch.autograd.set_detect_anomaly(anomaly)
        os.environ.clear()
        os.environ.update(environment)
