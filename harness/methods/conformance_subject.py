"""A method under check, and the two small synthetic domains that it is fitted on."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Catalogue, Domain, Ints, Sequences
from harness.errors import HarnessError
from harness.methods.api import ChecksData, FitContext, Method, Scorer
from harness.methods.artefact import Artefact, MakeContext, no_progress
from harness.protocol.ranks import check_scores
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.storage.files import digest
from harness.training.checkpoint import Checkpoint

TARGET, SOURCE = "target", "source"
_BUDGET = Budget(trials=1, epochs=1, patience=1)
_ITEMS_PER_TOPIC = 6


class SkippedError(Exception):
    """A check does not apply to the method."""


class Subject:
    """A method under check, and its fits.

    Args:
        make: makes the method.
        device: `cpu` or `cuda`.
        folder: where artefacts are trained.

    Attributes:
        domains: the target and the source, whole.
        held_out: the target's test events.
        unusable: why checks that need scores are skipped; None where they are not.
    """

    def __init__(self, make: Callable[[], Method], device: str, folder: Path) -> None:
        self.make = make
        self.domains = {TARGET: synthetic_domain(TARGET, 0), SOURCE: synthetic_domain(SOURCE, 1)}
        self.held_out = LeaveOneOut().test(self.domains[TARGET])
        self._device, self._folder = device, folder
        self._fits = 0
        self._scorer: Scorer | None = None
        self.unusable: str | None = None

    @property
    def n_items(self) -> int:
        """Size of the target's catalogue."""
        return len(self.domains[TARGET].catalogue)

    def scorer(self) -> Scorer:
        """The method, fitted once on the unchanged domains."""
        if self.unusable:
            raise SkippedError(self.unusable)
        if self._scorer is None:
            self.unusable = "the method could not be fitted"
            self._scorer = self.fit(self.domains)
            self.unusable = None
        return self._scorer

    def fit(self, domains: Mapping[str, Domain], random_state: int = 0) -> Scorer:
        """Fit a new method with seed 0, in a store of its own."""
        data = training_data(domains)
        method = self.make()
        if isinstance(method, ChecksData):
            try:
                method.check_data(data)
            except HarnessError as error:
                self.unusable = f"the method does not take the synthetic data: {error}"
                raise SkippedError(self.unusable) from error
        self._fits += 1
        artefacts = _TemporaryArtefacts(self._folder / str(self._fits), self._device)
        with _global_random_state(random_state):
            return method.fit(data, FitContext(_BUDGET, 0, self._device, artefacts))

    def catalogue_scores(self, scorer: Scorer | None = None) -> NDArray[Any]:
        """Scores of the whole catalogue for every test user."""
        histories = self.held_out.histories
        scores = (scorer or self.scorer()).score(histories, None)
        return check_scores(scores, (len(histories), self.n_items))

    def candidates(self) -> Ints:
        """Eleven candidates for each test user, the held-out item first: int64 [n_users, 11]."""
        rng = np.random.default_rng(5)
        targets = self.held_out.targets
        others = [rng.permutation(np.delete(np.arange(self.n_items), target))[:10] for target in targets]
        return np.column_stack([targets, np.stack(others)])


def synthetic_domain(name: str, seed: int, n_users: int = 60, n_items: int = 48) -> Domain:
    """A domain whose users mostly go from a topic to the next; half of the users are in all such domains.

    Args:
        name: its name.
        seed: of the interactions.
        n_users: number of users, with 5 to 9 interactions each.
        n_items: size of the catalogue, six items a topic.
    """
    rng = np.random.default_rng([seed, n_users, n_items])
    sequences = []
    for _ in range(n_users):
        first = int(rng.integers(n_items))
        steps = np.where(rng.random(9) < 0.8, _ITEMS_PER_TOPIC, 1).cumsum()
        sequences.append((first + steps[: rng.integers(5, 10)]) % n_items)
    items = Sequences.of(sequences)
    # Instants that rise for each user, and interleave those of different users.
    starts = rng.integers(10**6, size=n_users)
    days = np.concatenate(
        [start + np.arange(len(each)) * 86_400 for start, each in zip(starts, sequences, strict=True)]
    )
    return Domain(
        name,
        Catalogue(
            tuple(f"{name}-{item}" for item in range(n_items)),
            tuple(f"{name} story {item} about topic {item // _ITEMS_PER_TOPIC}" for item in range(n_items)),
        ),
        tuple(f"shared-{user}" if user % 2 else f"{name}-{user}" for user in range(n_users)),
        Sequences(items.offsets, items.items, days * 10**9),
    )


def training_data(domains: Mapping[str, Domain]) -> TrainingData:
    """What a method may see of the two domains under leave-one-out."""
    return TrainingData(TARGET, (SOURCE,), {name: LeaveOneOut().training(d) for name, d in domains.items()})


class _TemporaryArtefacts:
    """Trains artefacts into a folder, each once."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder, device

    def get_or_train(self, artefact: Artefact) -> Path:
        """The folder with the artefact's files."""
        parts = [str(self.get_or_train(part)) for part in artefact.made_from]
        folder = self._folder / digest([artefact.kind, dict(artefact.inputs), parts])
        if not folder.exists():
            folder.mkdir(parents=True)
            checkpoint = Checkpoint(folder.with_suffix(".checkpoint"))
            artefact.make(folder, MakeContext(self._device, no_progress, checkpoint))
        return folder


@contextmanager
def _global_random_state(seed: int) -> Iterator[None]:
    """Seed the global random states, which a method must not draw from, and restore them."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
