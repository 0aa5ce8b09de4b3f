"""Training paths of RecBole's models, and a test that finds the fastest exact one for a model.

RecBole turns every prefix into a sample, so that a sequence of n items costs n passes over up to n items. A causal
model computes the states of all positions anyway, and then selects one by `gather_indexes`. If that method returns the
states of all target positions instead, RecBole's own `calculate_loss`, called with as many targets, returns the mean
loss over all prefixes: one pass trains them all. Other models need their prefixes, but not their padding.

The path is not chosen by a model's name: its loss and gradients are compared with those of RecBole's own samples on a
small corpus.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from baselines.recbole_models.building import Built, RecBoleSettings, build, own_loss, unusable
from baselines.recbole_models.corpus import Corpus, Part
from baselines.recbole_models.dataset import contained, seeded
from baselines.recbole_models.softmax import LeftOut
from harness.data.domain import Catalogue, Ints, Sequences
from harness.errors import HarnessError
from harness.protocol.split import DomainTraining, HeldOut, Histories
from harness.training.windows import Windows, batches, windows_of

#: Computes the mean loss of a batch of prefixes.
Step = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """A batch of prefixes.

    Attributes:
        loss: computes the mean loss.
        left_out: items that the softmax leaves out.
    """

    loss: Step
    left_out: LeftOut | None = None


class TrainingPath(StrEnum):
    """How a model is trained."""

    ONE_PASS = "every prefix in one pass"  # noqa: S105 - no password
    TRIMMED = "RecBole's samples, padding cut"
    WHOLE = "RecBole's samples"


#: Prefixes up to this length are batched together: BERT4Rec could mask nothing in a batch of one-item histories, as
#: RecBole never counts the first position.
_SHORT = 8


def epoch_batches(
    built: Built, corpus: Corpus, path: TrainingPath, settings: RecBoleSettings, rng: np.random.Generator
) -> Iterator[Batch]:
    """The batches of one epoch."""
    sampler = NegativeSampler(corpus.sequences, corpus.n_items)
    if path is TrainingPath.ONE_PASS:
        windows = windows_of(corpus.sequences, settings.max_length, settings.stride)
        n_targets = (windows.targets > 0).sum(axis=1)
        last = last_targets(windows)
        device = next(built.model.parameters()).device
        for rows in batches((windows.inputs > 0).sum(axis=1), n_targets, settings.batch, rng):
            part = Windows(windows.inputs[rows], windows.targets[rows], windows.users[rows])
            masked = settings.loss == "masked CE"
            left_out = earlier_items(corpus.sequences, part, last[rows], device) if masked else None
            yield Batch(partial(one_pass_loss, built, part, sampler, rng), left_out)
    else:
        samples = built.dataset.inter_feat
        lengths = samples[built.model.ITEM_SEQ_LEN].numpy()
        trimmed = path is TrainingPath.TRIMMED
        keys = np.maximum(lengths, _SHORT) if trimmed else np.zeros_like(lengths)
        for rows in batches(keys, np.ones_like(lengths), settings.batch, rng):
            yield Batch(partial(per_prefix_loss, built, rows, sampler, rng, trimmed))


def last_targets(windows: Windows) -> Ints:
    """The position in its user's sequence of each window's last target: int64 [n]; windows of a user are in order."""
    counts = (windows.targets > 0).sum(axis=1)
    before = np.cumsum(counts) - counts
    first = np.searchsorted(windows.users, windows.users)
    return np.asarray(before - before[first] + counts)


def earlier_items(sequences: Sequences, windows: Windows, last: Ints, device: torch.device) -> LeftOut:
    """For each target of some windows, in order, what its user has had before; the target itself is not left out.

    Args:
        sequences: the training sequences.
        windows: n windows of them.
        last: int64 [n], the position in its sequence of each window's last target.
        device: of the tensors.
    """
    counts = (windows.targets > 0).sum(axis=1)
    n_targets = int(counts.sum())
    users = np.repeat(windows.users, counts)
    # Position of each target in its user's sequence: as many items are before it.
    position = (
        np.arange(n_targets) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(last - counts + 1, counts)
    )
    rows = np.repeat(np.arange(n_targets), position)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(position) - position, position)
    items = sequences.items[sequences.offsets[users[rows]] + nth] + 1
    kept = items != windows.targets[windows.targets > 0][rows]
    return LeftOut(*(torch.from_numpy(index[kept]).to(device) for index in (rows, items)))


def one_pass_loss(built: Built, windows: Windows, sampler: "NegativeSampler", rng: np.random.Generator) -> torch.Tensor:
    """RecBole's own loss, as the mean over all target positions of some windows.

    Args:
        built: a model that supports this path.
        windows: n windows.
        sampler: draws negatives.
        rng: for negatives, if the model's loss needs any.
    """
    model = built.model
    device = next(model.parameters()).device
    # Columns that are padding in every row are left out.
    width = int((windows.inputs > 0).sum(axis=1).max())
    items, targets = windows.inputs[:, :width], windows.targets[:, :width]
    is_target = targets > 0
    users = np.repeat(windows.users, is_target.sum(axis=1))
    interaction = {
        model.USER_ID: users + 1,
        model.ITEM_SEQ: items,
        model.ITEM_SEQ_LEN: (items > 0).sum(axis=1),
        model.POS_ITEM_ID: targets[is_target],
    }
    if is_pairwise(built):
        interaction[model.NEG_ITEM_ID] = sampler.negatives(users, rng) + 1
    with _gather_all(model, torch.from_numpy(is_target).to(device)):
        return _loss(model, {name: torch.from_numpy(value).to(device) for name, value in interaction.items()})


def per_prefix_loss(
    built: Built, rows: Ints, sampler: "NegativeSampler", rng: np.random.Generator, trimmed: bool
) -> torch.Tensor:
    """RecBole's own loss on a batch of RecBole's own samples, as from its data loader.

    Args:
        built: a model and its dataset, with samples.
        rows: int64 [n], indices of the samples.
        sampler: draws negatives.
        rng: for negatives, if the model's loss needs any.
        trimmed: whether to leave out columns that are padding in every row.
    """
    model = built.model
    interaction = built.dataset.inter_feat[rows]
    if is_pairwise(built):
        negatives = sampler.negatives(interaction[model.USER_ID].numpy() - 1, rng) + 1
        interaction.interaction[model.NEG_ITEM_ID] = torch.from_numpy(negatives)
    interaction = built.transform(built.dataset, interaction)
    if trimmed:
        interaction = trim(interaction)
    return _loss(model, interaction.to(next(model.parameters()).device))


def trim(interaction: Any) -> Any:
    """Leave out the columns of padding: those that are 0 in every row of all fields of the same width."""
    from recbole.data import Interaction

    fields = interaction.interaction
    used: dict[int, torch.Tensor] = {}
    for value in fields.values():
        if value.dim() == 2:
            width = value.shape[1]
            nonzero = (value != 0).any(dim=0)
            nonzero[0] = True  # an empty history stays as one padding item
            used[width] = used[width] | nonzero if width in used else nonzero
    return Interaction(
        {name: value[:, used[value.shape[1]]] if value.dim() == 2 else value for name, value in fields.items()}
    )


def is_pairwise(built: Built) -> bool:
    """Whether the model's loss compares an item with a negative."""
    from recbole.utils import InputType

    kind = getattr(built.model, "loss_type", None)
    if kind is not None:
        return bool(kind == "BPR")
    return bool(getattr(built.model, "input_type", None) == InputType.PAIRWISE)


class NegativeSampler:
    """Draws negatives: items outside a user's training items.

    Args:
        sequences: the training sequences.
        n_items: size of the catalogue; no user may have all of it.
    """

    def __init__(self, sequences: Sequences, n_items: int) -> None:
        self._n_items = n_items
        self._pairs = np.unique(sequences.users * self._n_items + sequences.items)

    def negatives(self, users: Ints, rng: np.random.Generator) -> Ints:
        """A uniform item outside the training items of each user (int64 [n]): int64 [n]."""
        negatives = rng.integers(0, self._n_items, len(users))
        rejected = np.arange(len(users))
        for _ in range(100):
            pairs = users[rejected] * self._n_items + negatives[rejected]
            indices = np.searchsorted(self._pairs, pairs)
            rejected = rejected[self._pairs[np.minimum(indices, len(self._pairs) - 1)] == pairs]
            if not len(rejected):
                return negatives
            negatives[rejected] = rng.integers(0, self._n_items, len(rejected))
        for row in rejected:  # of users with nearly the whole catalogue
            first, last = np.searchsorted(self._pairs, [users[row] * self._n_items, (users[row] + 1) * self._n_items])
            items = self._pairs[first:last] % self._n_items
            negatives[row] = rng.choice(np.setdiff1d(np.arange(self._n_items), items))
        return negatives


def check_negatives(settings: RecBoleSettings, corpus: Corpus) -> None:
    """Check before training that negatives can be drawn for every user, if the model's loss needs them.

    Raises:
        HarnessError: a user has the whole catalogue in training, and the model's loss is pairwise.
    """
    sequences, n_items = corpus.sequences, corpus.n_items
    pairs = np.unique(sequences.users * n_items + sequences.items)
    without_negatives = int((np.bincount(pairs // n_items, minlength=len(sequences)) == n_items).sum())
    if not without_negatives:
        return
    with seeded(0):
        built = build(settings, probe_corpus(), prefixes=False)
    if is_pairwise(built):
        names = " + ".join(part.domain.name for part in corpus.parts)
        loss = f" with {settings.loss} loss" if settings.loss else ""
        raise HarnessError(
            f"RecBole's {settings.model}{loss} needs items that a user does not have, but {without_negatives:,} of "
            f"{len(sequences):,} users of {names} have all {n_items:,} items in training.",
            "Leave out the method, set a loss without negatives (CE), or remove those users from the data.",
        )


@contextmanager
def _gather_all(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Let the model's `gather_indexes` return the states where a mask (bool [n, length]) holds."""
    model.gather_indexes = lambda output, _: output[mask]
    try:
        yield
    finally:
        del model.gather_indexes


def _loss(model: Any, interaction: Any) -> torch.Tensor:
    loss = model.calculate_loss(interaction)
    total: torch.Tensor = torch.stack(loss).sum() if isinstance(loss, tuple) else loss
    return total


def find_path(settings: RecBoleSettings) -> TrainingPath:
    """The fastest path with the same loss and gradients as RecBole's own samples, on a small generated corpus.

    Raises:
        HarnessError: RecBole has no such model, it cannot be trained on sequences and texts, or not with its loss.
    """
    path = _probe(_Hashable(settings))
    if settings.loss == "masked CE" and path is not TrainingPath.ONE_PASS:
        raise HarnessError(
            f"RecBole's {settings.model} cannot train every prefix in one pass, which the loss `masked CE` needs.",
            "Use the loss `CE`.",
        )
    return path


class _Hashable:
    """Settings as a cache key; settings of equal content are equal."""

    def __init__(self, settings: RecBoleSettings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return repr(self.settings) == repr(getattr(other, "settings", None))

    def __hash__(self) -> int:
        return hash(repr(self.settings))


@lru_cache(maxsize=64)
def _probe(key: _Hashable) -> TrainingPath:
    settings = replace(key.settings, batch=10_000)
    corpus = probe_corpus()
    sampler = NegativeSampler(corpus.sequences, corpus.n_items)
    with seeded(0):
        built = build(settings, corpus, prefixes=True)
    loss_calls: list[bool] = []
    if settings.loss == "BCE":
        built.model.loss_fct.register_forward_hook(lambda *_: loss_calls.append(True))
    lengths = built.dataset.inter_feat[built.model.ITEM_SEQ_LEN].numpy()
    every, short = np.arange(len(lengths)), np.flatnonzero(lengths < min(5, settings.max_length))

    def samples(rows: Ints, trimmed: bool) -> Step:
        return lambda: per_prefix_loss(built, rows, sampler, np.random.default_rng(0), trimmed)

    def one_pass() -> torch.Tensor:
        # A stride of 1 equals RecBole's sliding prefixes.
        windows = windows_of(corpus.sequences, settings.max_length, 1)
        return one_pass_loss(built, windows, sampler, np.random.default_rng(0))

    try:
        expected = _loss_and_gradients(built, samples(every, False), double=True)
        double = True
    except Exception:
        # Some models create float32 tensors themselves.
        try:
            expected = _loss_and_gradients(built, samples(every, False), double=False)
            double = False
        except Exception as error:
            raise unusable(settings.model, error) from error
    if settings.loss == "BCE" and not loss_calls:  # the model computes its pairwise loss itself
        raise own_loss(settings.model)
    if _agrees(built, one_pass, expected, double):
        return TrainingPath.ONE_PASS
    # Short prefixes, which all have padding to cut.
    if len(short):
        expected = _loss_and_gradients(built, samples(short, False), double)
        if _agrees(built, samples(short, True), expected, double):
            return TrainingPath.TRIMMED
    return TrainingPath.WHOLE


def _agrees(built: Built, step: Step, expected: "_LossAndGradients", double: bool) -> bool:
    try:
        return _close(_loss_and_gradients(built, step, double), expected, 1e-9 if double else 1e-4)
    except Exception:
        return False  # whatever the error, the model does not support this path


def probe_corpus() -> Corpus:
    """A small corpus: sequences of one to nine items over a hundred, with texts."""
    rng = np.random.default_rng(0)
    lengths = np.array([2, 5, 9, 9, 3, 7, 1, 4])
    sequences = Sequences(
        np.concatenate([[0], np.cumsum(lengths)]),
        rng.integers(0, 100, lengths.sum()),
        np.zeros(lengths.sum(), dtype=np.int64),
    )
    texts = tuple(f"item of kind {index % 3} and {index % 5}" for index in range(100))
    empty = np.zeros(0, dtype=np.int64)
    held_out = HeldOut(Histories(empty, Sequences(np.zeros(1, dtype=np.int64), empty, empty)), empty, empty)
    users = tuple(map(str, range(len(lengths))))
    domain = DomainTraining("probe", Catalogue(texts, texts), users, sequences, held_out, "", "")
    return Corpus((Part(domain, 0, 0),), sequences, texts)


#: A loss and its gradients by parameter.
_LossAndGradients = tuple[torch.Tensor, dict[str, torch.Tensor]]


def _loss_and_gradients(built: Built, step: Step, double: bool) -> _LossAndGradients:
    """Loss and gradients without dropout, from weights so large that every input has an effect."""
    model = built.model.double() if double else built.model.float()
    model.eval()  # switches off dropout; calculate_loss works in this mode too
    model.zero_grad(set_to_none=True)
    with seeded(0), torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(3 * torch.randn_like(parameter) / max(1, *parameter.shape[-1:]) ** 0.5)
    with seeded(1), contained():
        loss = step()
        loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _close(a: _LossAndGradients, b: _LossAndGradients, tolerance: float) -> bool:
    def close(x: torch.Tensor, y: torch.Tensor) -> bool:
        return x.shape == y.shape and bool((x - y).abs().max() <= tolerance * max(1.0, float(y.abs().max())))

    return close(a[0], b[0]) and a[1].keys() == b[1].keys() and all(close(g, b[1][name]) for name, g in a[1].items())
