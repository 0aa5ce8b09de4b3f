"""Settings of RecBole's models, and how to build them from a corpus."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import nn

from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.dataset import contained, make_config, make_dataset
from harness.errors import HarnessError

Loss = Literal["CE", "masked CE", "BPR", "BCE"]


@dataclass(frozen=True)
class RecBoleSettings:
    """A RecBole model and how it is trained.

    Attributes:
        model: RecBole's name of the model.
        loss: `CE` (cross-entropy over the catalogue), `masked CE` (over the catalogue less what the user has had, as
            in the evaluation), `BPR` (RecBole's), `BCE` (binary cross-entropy of the item and one negative, as in
            SASRec's paper), or None for the model's default.
        parameters: entries of RecBole's own configuration that differ from its defaults.
        max_length: number of latest items that a state may depend on.
        stride: distance between windows of a longer sequence; see `windows_of`.
        learning_rate: of Adam.
        weight_decay: of Adam.
        batch: prefixes a step.
        schedule: of the learning rate over the budget's epochs: `constant`, or `cosine` for half a cosine.
        precision: of products with the whole catalogue while training: `float32`, or `bfloat16` if the hardware
            supports it; see `catalogue_softmax` and `product_type`.
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
    """A model with its dataset.

    Attributes:
        model: the model.
        dataset: RecBole's dataset, with a sample for every prefix if requested.
        transform: RecBole's transform of a batch before it is passed to the model, such as masking items.
    """

    model: Any
    dataset: Any
    transform: Callable[[Any, Any], Any]


def build(settings: RecBoleSettings, corpus: Corpus, prefixes: bool) -> Built:
    """Build a model, initialised from torch's current random state.

    Args:
        settings: of the model.
        corpus: the training data, which determines the numbers of items, users and words.
        prefixes: whether the dataset must contain RecBole's sample of every prefix.

    Raises:
        HarnessError: RecBole has no such model, cannot build it from sequences and texts alone, or the model does not
            support the loss.
    """
    parameters = dict(settings.parameters)
    if settings.loss is not None:
        parameters["loss_type"] = {"BCE": "BPR", "masked CE": "CE"}.get(settings.loss, settings.loss)
    # Some models need the batch size before the first batch.
    parameters.setdefault("train_batch_size", settings.batch)
    try:
        with contained():
            from recbole.data.transform import construct_transform
            from recbole.utils import get_model

            model_class = get_model(settings.model)
        config = make_config(settings.model, parameters, settings.max_length)
        dataset = make_dataset(config, corpus.sequences, corpus.texts, prefixes)
        with contained():
            transform = construct_transform(config)  # first: it defines fields that the model looks up
            if hasattr(transform, "_neg_sample"):
                transform._neg_sample = partial(_negative, transform._neg_sample)
            model = model_class(config, dataset)
    except Exception as error:
        raise unusable(settings.model, error) from error
    if getattr(model, "train_stage", None) == "pretrain":
        raise HarnessError(
            f"RecBole's {settings.model} is trained in two stages that exchange a pickle file, which is not supported.",
            "Use FDSA, which reads item attributes too and is trained in one stage.",
        )
    if settings.loss is not None and getattr(model, "loss_type", None) != parameters["loss_type"]:
        raise own_loss(settings.model)
    if settings.loss == "BCE":
        model.loss_fct = BinaryCrossEntropy()
    return Built(model, dataset, transform)


def _negative(draw: Callable[[Sequence[int], int], int], sample: Sequence[int], n_items: int) -> int:
    """Draw an item that is not in a sample; RecBole's own function would loop forever if there is none.

    Args:
        draw: RecBole's function.
        sample: items from 1 on, and 0 for padding.
        n_items: including the padding item.

    Returns:
        The item; padding if there is none, which BERT4Rec's cross-entropy ignores.
    """
    return 0 if n_items <= len(sample) + 1 and len({*sample} - {0}) == n_items - 1 else draw(sample, n_items)


class BinaryCrossEntropy(nn.Module):
    """−log σ(positive) − log(1 − σ(negative)), mean over prefixes (Kang and McAuley, ICDM 2018, equation 8).

    RecBole's models with a pairwise loss call it with both scores, float [n] each.
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
    """The error of a model whose loss cannot be chosen."""
    return HarnessError(f"RecBole's {model} has a loss of its own.", "Remove `loss` from its settings.")


def unusable(model: str, error: Exception) -> HarnessError:
    """The error of a model that RecBole does not have, or that cannot be built or trained here."""
    if model not in sequential_models():
        return HarnessError.unknown("sequential model of RecBole", model, sequential_models())
    reason = (str(error).strip() or "no reason given").splitlines()[0]
    return HarnessError(
        f"RecBole's {model} cannot be trained on item sequences and texts alone ({type(error).__name__}: {reason}).",
        "Choose another model, or set the parameters it needs.",
    )
