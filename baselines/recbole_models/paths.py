"""The ways to train RecBole's models, and the test that says which of them a model can take.

RecBole makes a sample of every prefix, so a sequence of n items costs n passes over up to n items. A causal model
computes the states of all positions anyway, and then takes one through `gather_indexes`. If that method gives the
states of all target positions instead, RecBole's own `calculate_loss`, given as many targets, returns the mean loss
over all prefixes: one pass trains them all. Other models need their prefixes, but not their padding.

Whether a model can is not read off its name: its loss and gradients are compared on a small corpus with those of
RecBole's own samples.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from baselines.recbole_models.building import Built, RecBoleSettings, build, own_loss, unusable
from baselines.recbole_models.corpus import Corpus, Part
from baselines.recbole_models.dataset import contained, seeded
from harness.data.domain import Catalogue, Ints, Sequences
from harness.errors import HarnessError
from harness.protocol.split import DomainTraining, HeldOut, Histories
from harness.training.windows import Windows, batches, windows_of

#: A step: gives the loss of some prefixes, the mean over them.
Step = Callable[[], torch.Tensor]


class Path(StrEnum):
    """How a model is trained."""

    ONE_PASS = "every prefix in one pass"  # noqa: S105 - no password
    TRIMMED = "RecBole's samples, padding cut"
    WHOLE = "RecBole's samples"


#: Prefixes up to so long are batched together. A batch of one-item histories would have nothing to mask for BERT4Rec,
#: in which RecBole never counts the first position.
_SHORT = 8


def steps(
    built: Built, corpus: Corpus, path: Path, settings: RecBoleSettings, rng: np.random.Generator
) -> Iterator[Step]:
    """The steps of one epoch."""
    seen = Seen(corpus.sequences, corpus.n_items)
    if path is Path.ONE_PASS:
        windows = windows_of(corpus.sequences, settings.max_length, settings.stride)
        targets = (windows.targets > 0).sum(axis=1)
        for rows in batches((windows.inputs > 0).sum(axis=1), targets, settings.batch, rng):
            part = Windows(windows.inputs[rows], windows.targets[rows], windows.users[rows])
            yield lambda part=part: one_pass_loss(built, part, seen, rng)  # type: ignore[misc]
    else:
        samples = built.dataset.inter_feat
        lengths = samples[built.model.ITEM_SEQ_LEN].numpy()
        by = np.maximum(lengths, _SHORT) if path is Path.TRIMMED else np.zeros_like(lengths)
        for rows in batches(by, np.ones_like(lengths), settings.batch, rng):
            yield lambda rows=rows: per_prefix_loss(built, rows, seen, rng, path is Path.TRIMMED)  # type: ignore[misc]


def one_pass_loss(built: Built, windows: Windows, seen: "Seen", rng: np.random.Generator) -> torch.Tensor:
    """RecBole's own loss, as the mean over all target positions of some windows.

    Args:
        built: a model that can take this path.
        windows: n windows.
        seen: for drawing negatives.
        rng: for drawing negatives, if the model wants any.
    """
    model = built.model
    device = next(model.parameters()).device
    # Columns that are padding in every row are never computed.
    width = int((windows.inputs > 0).sum(axis=1).max())
    items, targets = windows.inputs[:, :width], windows.targets[:, :width]
    wanted = targets > 0
    users = np.repeat(windows.users, wanted.sum(axis=1))
    interaction = {
        model.USER_ID: users + 1,
        model.ITEM_SEQ: items,
        model.ITEM_SEQ_LEN: (items > 0).sum(axis=1),
        model.POS_ITEM_ID: targets[wanted],
    }
    if pairwise(built):
        interaction[model.NEG_ITEM_ID] = seen.negatives(users, rng) + 1
    with _gathering_all(model, torch.from_numpy(wanted).to(device)):
        return _total(model, {name: torch.from_numpy(value).to(device) for name, value in interaction.items()})


def per_prefix_loss(built: Built, rows: Ints, seen: "Seen", rng: np.random.Generator, trimmed: bool) -> torch.Tensor:
    """RecBole's own loss on some of RecBole's own samples, as its data loader hands them over.

    Args:
        built: a model and its dataset, with samples.
        rows: int64 [n], which samples.
        seen: for drawing negatives.
        rng: for drawing negatives, if the model wants any.
        trimmed: leave out columns that are padding in every row.
    """
    model = built.model
    interaction = built.dataset.inter_feat[rows]
    if pairwise(built):
        negatives = seen.negatives(interaction[model.USER_ID].numpy() - 1, rng) + 1
        interaction.interaction[model.NEG_ITEM_ID] = torch.from_numpy(negatives)
    interaction = built.transform(built.dataset, interaction)
    if trimmed:
        interaction = trim(interaction)
    return _total(model, interaction.to(next(model.parameters()).device))


def trim(interaction: Any) -> Any:
    """Leaves out the columns of padding: those that are 0 in every row of every field of the same width."""
    from recbole.data import Interaction

    fields = interaction.interaction
    used: dict[int, torch.Tensor] = {}
    for value in fields.values():
        if value.dim() == 2:
            width = value.shape[1]
            holds = (value != 0).any(dim=0)
            holds[0] = True  # an empty history is still read as one padding item
            used[width] = used[width] | holds if width in used else holds
    return Interaction(
        {name: value[:, used[value.shape[1]]] if value.dim() == 2 else value for name, value in fields.items()}
    )


def pairwise(built: Built) -> bool:
    """Whether the model's loss compares an item with a negative."""
    from recbole.utils import InputType

    kind = getattr(built.model, "loss_type", None)
    if kind is not None:
        return bool(kind == "BPR")
    return bool(getattr(built.model, "input_type", None) == InputType.PAIRWISE)


class Seen:
    """Each user's items in training, for drawing negatives outside them.

    Args:
        sequences: the training sequences.
        n_items: size of the catalogue, of which no user may have all.
    """

    def __init__(self, sequences: Sequences, n_items: int) -> None:
        self._n_items = n_items
        self._pairs = np.unique(sequences.users * self._n_items + sequences.items)

    def negatives(self, users: Ints, rng: np.random.Generator) -> Ints:
        """A uniform item outside the training items of each user (int64 [n]): int64 [n]."""
        drawn = rng.integers(0, self._n_items, len(users))
        again = np.arange(len(users))
        for _ in range(100):
            pairs = users[again] * self._n_items + drawn[again]
            places = np.searchsorted(self._pairs, pairs)
            again = again[self._pairs[np.minimum(places, len(self._pairs) - 1)] == pairs]
            if not len(again):
                return drawn
            drawn[again] = rng.integers(0, self._n_items, len(again))
        for row in again:  # of a user with nearly the whole catalogue
            first, last = np.searchsorted(self._pairs, [users[row] * self._n_items, (users[row] + 1) * self._n_items])
            drawn[row] = rng.choice(np.setdiff1d(np.arange(self._n_items), self._pairs[first:last] % self._n_items))
        return drawn


def check_negatives(settings: RecBoleSettings, corpus: Corpus) -> None:
    """Fails before a training whose loss compares items with negatives, where a user leaves none to draw.

    Raises:
        HarnessError: some user has the whole catalogue in training, and the model's loss is pairwise.
    """
    sequences, n_items = corpus.sequences, corpus.n_items
    pairs = np.unique(sequences.users * n_items + sequences.items)
    whole = int((np.bincount(pairs // n_items, minlength=len(sequences)) == n_items).sum())
    if not whole:
        return
    with seeded(0):
        built = build(settings, probe_corpus(), prefixes=False)
    if pairwise(built):
        names = " + ".join(part.domain.name for part in corpus.parts)
        loss = f" with {settings.loss} loss" if settings.loss else ""
        raise HarnessError(
            f"RecBole's {settings.model}{loss} learns from items that a user does not have, and {whole:,} of "
            f"{len(sequences):,} users of {names} have all {n_items:,} items in training.",
            "Leave the method out, give it a loss without negatives (CE), or take those users out of the data.",
        )


@contextmanager
def _gathering_all(model: Any, mask: torch.Tensor) -> Iterator[None]:
    """Lets the model's `gather_indexes` give the states where the mask (bool [n, length]) holds."""
    model.gather_indexes = lambda output, _: output[mask]
    try:
        yield
    finally:
        del model.gather_indexes


def _total(model: Any, interaction: Any) -> torch.Tensor:
    loss = model.calculate_loss(interaction)
    total: torch.Tensor = torch.stack(loss).sum() if isinstance(loss, tuple) else loss
    return total


def find_path(settings: RecBoleSettings) -> Path:
    """The cheapest way that gives the same loss and gradients as RecBole's own samples, on a small made-up corpus.

    Raises:
        HarnessError: RecBole has no such model, or it cannot be trained on sequences and texts.
    """
    return _probe(_Hashable(settings))


class _Hashable:
    """Settings as a key: two of the same content are the same question."""

    def __init__(self, settings: RecBoleSettings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return repr(self.settings) == repr(getattr(other, "settings", None))

    def __hash__(self) -> int:
        return hash(repr(self.settings))


@lru_cache(maxsize=64)
def _probe(key: _Hashable) -> Path:
    settings = replace(key.settings, batch=10_000)
    corpus = probe_corpus()
    seen = Seen(corpus.sequences, corpus.n_items)
    with seeded(0):
        built = build(settings, corpus, prefixes=True)
    called: list[bool] = []
    if settings.loss == "BCE":
        built.model.loss_fct.register_forward_hook(lambda *_: called.append(True))
    lengths = built.dataset.inter_feat[built.model.ITEM_SEQ_LEN].numpy()
    every, short = np.arange(len(lengths)), np.flatnonzero(lengths < min(5, settings.max_length))

    def samples(rows: Ints, trimmed: bool) -> Step:
        return lambda: per_prefix_loss(built, rows, seen, np.random.default_rng(0), trimmed)

    def one_pass() -> torch.Tensor:
        # With a stride of 1, as RecBole's prefixes slide.
        windows = windows_of(corpus.sequences, settings.max_length, 1)
        return one_pass_loss(built, windows, seen, np.random.default_rng(0))

    try:
        wanted = _outcome(built, samples(every, False), double=True)
        double = True
    except Exception:
        # Some models make float32 tensors of their own.
        try:
            wanted = _outcome(built, samples(every, False), double=False)
            double = False
        except Exception as error:
            raise unusable(settings.model, error) from error
    if settings.loss == "BCE" and not called:  # it computes its pairwise loss by itself
        raise own_loss(settings.model)
    if _agrees(built, one_pass, wanted, double):
        return Path.ONE_PASS
    # Prefixes that all leave padding to cut.
    if len(short) and _agrees(built, samples(short, True), _outcome(built, samples(short, False), double), double):
        return Path.TRIMMED
    return Path.WHOLE


def _agrees(built: Built, loss: Step, wanted: "_Outcome", double: bool) -> bool:
    try:
        return _same(_outcome(built, loss, double), wanted, 1e-9 if double else 1e-4)
    except Exception:
        return False  # whatever it is, the model cannot take this path


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
    nobody = np.zeros(0, dtype=np.int64)
    none = HeldOut(Histories(nobody, Sequences(np.zeros(1, dtype=np.int64), nobody, nobody)), nobody, nobody)
    users = tuple(map(str, range(len(lengths))))
    domain = DomainTraining("probe", Catalogue(texts, texts), users, sequences, none, "", "")
    return Corpus((Part(domain, 0, 0),), sequences, texts)


#: A loss and its gradients.
_Outcome = tuple[torch.Tensor, dict[str, torch.Tensor]]


def _outcome(built: Built, loss: Step, double: bool) -> _Outcome:
    """Loss and gradients, without dropout, from weights so large that every input tells."""
    model = built.model.double() if double else built.model.float()
    model.eval()  # calculate_loss works in this mode too, and dropout is off
    model.zero_grad(set_to_none=True)
    with seeded(0), torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(3 * torch.randn_like(parameter) / max(1, *parameter.shape[-1:]) ** 0.5)
    with seeded(1), contained():
        value = loss()
        value.backward()
    return value.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def _same(a: _Outcome, b: _Outcome, tolerance: float) -> bool:
    def close(x: torch.Tensor, y: torch.Tensor) -> bool:
        return x.shape == y.shape and bool((x - y).abs().max() <= tolerance * max(1.0, float(y.abs().max())))

    return close(a[0], b[0]) and a[1].keys() == b[1].keys() and all(close(g, b[1][name]) for name, g in a[1].items())
