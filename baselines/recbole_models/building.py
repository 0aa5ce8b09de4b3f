"""RecBole's models, built; and which way of training each takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import nn

from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import contained, make_config, make_dataset
from harness.errors import HarnessError

Loss = Literal["CE", "BPR", "BCE"]


@dataclass(frozen=True)
class RecBoleSettings:
    """A RecBole model and how it is trained.

    Attributes:
        model: RecBole's name of the model.
        loss: `CE` (cross-entropy over the catalogue), `BPR` (RecBole's), `BCE` (binary cross-entropy of the item
            and one negative, as in SASRec's paper), or None for the model's own default.
        parameters: entries of RecBole's own configuration that differ from its defaults.
        max_length: the latest items that a state may depend on.
        stride: how windows of longer sequences follow each other; see `windows_of`.
        learning_rate: Adam's.
        weight_decay: Adam's.
        batch: prefixes a step.
        schedule: `constant`, or `cosine`: the rate falls along a half cosine over the budget's epochs.
        precision: what products with the whole catalogue are computed in while training: `float32`, or `bfloat16`
            where torch has it in hardware; see `catalogue_softmax` and `product_type`.
    """

    model: str
    loss: Loss | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    max_length: Annotated[int, Ge(1)] = 50
    stride: Annotated[int, Ge(1)] = 25
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    batch: Annotated[int, Ge(1)] = 1024
    schedule: Literal["constant", "cosine"] = "cosine"
    precision: Literal["bfloat16", "float32"] = "bfloat16"


@dataclass(frozen=True)
class Built:
    """A model with what RecBole gave it.

    Attributes:
        model: the model.
        dataset: RecBole's dataset, with a sample of every prefix if those were asked for.
        transform: what RecBole does to a batch before the model sees it, such as masking items.
    """

    model: Any
    dataset: Any
    transform: Callable[[Any, Any], Any]


def build(settings: RecBoleSettings, corpus: Corpus, prefixes: bool) -> Built:
    """A fresh model, initialised from torch's current random state.

    Args:
        settings: which model.
        corpus: what it will be trained on; it decides the numbers of items, users and words.
        prefixes: whether the dataset must hold RecBole's sample of every prefix.

    Raises:
        HarnessError: RecBole has no such model, cannot build it from sequences and texts alone, or it has no choice of
            losses.
    """
    parameters = dict(settings.parameters)
    if settings.loss is not None:
        parameters["loss_type"] = "BPR" if settings.loss == "BCE" else settings.loss
    # Models that look at their batches before they see one are told the size.
    parameters.setdefault("train_batch_size", settings.batch)
    try:
        with contained():
            from recbole.data.transform import construct_transform
            from recbole.utils import get_model

            model_class = get_model(settings.model)
        config = make_config(settings.model, parameters, settings.max_length)
        dataset = make_dataset(config, corpus.sequences, corpus.texts, prefixes)
        with contained():
            transform = construct_transform(config)  # first: it names fields that the model looks up
            model = model_class(config, dataset)
    except Exception as error:
        raise unusable(settings.model, error) from error
    if getattr(model, "train_stage", None) == "pretrain":
        raise HarnessError(
            f"RecBole's {settings.model} is trained in two stages, and hands over between them by a pickle file.",
            "FDSA reads item attributes too, and trains in one.",
        )
    if settings.loss is not None and getattr(model, "loss_type", None) != parameters["loss_type"]:
        raise own_loss(settings.model)
    if settings.loss == "BCE":
        model.loss_fct = BinaryCrossEntropy()
    return Built(model, dataset, transform)


class BinaryCrossEntropy(nn.Module):
    """−log σ(positive) − log(1 − σ(negative)), mean over prefixes (Kang and McAuley, ICDM 2018, equation 8).

    RecBole's models with a pairwise loss call it with the two scores, float [n] each.
    """

    def forward(self, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
        """The loss: float []."""
        return (F.softplus(-positive) + F.softplus(negative)).mean()


@lru_cache(maxsize=1)
def sequential_models() -> tuple[str, ...]:
    """Names of RecBole's sequential models."""
    with contained():
        import pkgutil

        import recbole.model.sequential_recommender as package

        modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
        return tuple(sorted(name for name in vars(package) if name.lower() in modules and not name.islower()))


def own_loss(model: str) -> HarnessError:
    """The error of a model that trains with a loss of its own, whatever it is told."""
    return HarnessError(f"RecBole's {model} has a loss of its own.", "Leave its `loss` out of the settings.")


def unusable(model: str, error: Exception) -> HarnessError:
    """The error of a model that RecBole lacks, or that fails at what every model here must do."""
    if model not in sequential_models():
        return HarnessError.unknown("sequential model of RecBole", model, sequential_models())
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return HarnessError(
        f"RecBole's {model} cannot be trained on item sequences and texts alone ({type(error).__name__}: {reason}).",
        "Choose another model, or give it the parameters it lacks.",
    )
