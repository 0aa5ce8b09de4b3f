"""The interface of a method, and capabilities that a method or its scorer may have.

A method has `settings` and `fit(data, context)`, which gives a scorer with `score(histories, candidates)`. That is all
it must have. The harness looks for these members too, each described by a protocol below:

Of a method:

- `learns_from`: the domains that it uses; see `LearnsFrom`.
- `reference`: the method that it is compared with; see `HasReference`.
- `artefacts`: what it trains, so that a plan can show it and workers can share it; see `TrainsArtefacts`.
- `content`, `check_files`, `relative_to`: files besides the data; see `HasContent`, `ChecksFiles` and `ReadsPaths`.
- `check_data`: data that it cannot learn from; see `ChecksData`.
- `depends_on`: code that is found by a name in a string; see `DependsOn`.
- `scoring_estimate`: what ranking will take, for `harness plan`; see `EstimatesScoring`.
- `export`, `diagnose`: for `harness export` and `harness diagnose`; see `Exports` and `Diagnoses`.
- `space`: settings that can be tuned, and `tuned`: how settings are replaced; see `harness.tuning.tunable`.

Of a scorer:

- `item_vectors` and `history_vectors`: for retrieval with an index; see `VectorScorer`.
- `validity`: invalid answers of a text generator; see `ReportsValidity`.
- `prompt_order`: what the order of candidates in a prompt changes; see `ReportsPromptOrder`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.methods.artefact import Artefact, Artefacts, StepCallback
from harness.protocol.split import Histories, TrainingData
from harness.protocol.suite import Budget
from harness.training.diagnostic_table import DiagnosticTable as DiagnosticTable  # part of this interface

Floats32 = NDArray[np.float32]


class Scorer(Protocol):
    """A fitted method."""

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Score candidates for each user; higher is better, ties are allowed, NaN is an error.

        An item with the score -inf is not recommended at all: if it is the held-out item, it is a miss.

        Args:
            histories: n_users users and their target-domain items so far.
            candidates: int64 [n_users, n_candidates], or None for the whole target catalogue in order.

        Returns:
            float32 [n_users, n_candidates].
        """
        ...


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer with vectors for retrieval; its scores may be their dot products, or others."""

    def item_vectors(self) -> Floats32:
        """One vector for each item of the target catalogue: float32 [n_items, d]."""
        ...

    def history_vectors(self, histories: Histories) -> Floats32:
        """One vector for each user: float32 [n_users, d]."""
        ...


@runtime_checkable
class ReportsValidity(Protocol):
    """A scorer whose answers may be invalid, such as a text generator."""

    def validity(self) -> Mapping[str, float]:
        """Statistics of the answers since the last call: `answers`, their number, and the share with each fault."""
        ...


@runtime_checkable
class ReportsPromptOrder(Protocol):
    """A scorer that shows a model its candidates in some order, which may change the scores."""

    def prompt_order(self) -> Mapping[str, float]:
        """What a second random order of the candidates changed since the last call.

        Returns:
            `users`: number of users for whom it was tried; `kendall_tau`: mean correlation of both rankings;
            `other_first`: the share of users whose first item changes; `first_third`: the share whose first item is
            shown in the first third of the prompt.
        """
        ...


@runtime_checkable
class HasContent(Protocol):
    """A method whose scores depend on files besides the data, such as pre-trained weights.

    The key of a result covers data, settings, code and these files. If a method reads a file that it does not name
    here, its old results stay valid when the file changes.
    """

    def content(self) -> Mapping[str, str]:
        """Digests of the files by role: `{"backbone": harness.storage.files.file_digest(path)}`."""
        ...


@runtime_checkable
class DependsOn(Protocol):
    """A method that finds some of its code by a name in a string, which following imports does not show."""

    @property
    def depends_on(self) -> Sequence[str]:
        """The code, as `module` or `module:name`."""
        ...


@runtime_checkable
class LearnsFrom(Protocol):
    """A method that uses some of the domains only; others use all of the scenario's."""

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains that it uses, target first."""
        ...


@runtime_checkable
class HasReference(Protocol):
    """A method that is compared with another one, such as the same method without source domains."""

    @property
    def reference(self) -> str | None:
        """The name of the other method; None for no comparison."""
        ...


@runtime_checkable
class ChecksFiles(Protocol):
    """A method that needs files besides the data, and can be planned without them."""

    def check_files(self) -> None:
        """Check, before anything starts, that the files are complete.

        Raises:
            HarnessError: a file is missing or damaged.
        """
        ...


@runtime_checkable
class ChecksData(Protocol):
    """A method that cannot learn from every kind of data."""

    def check_data(self, data: TrainingData) -> None:
        """Check, while a run is planned, that the method can learn from these data.

        If it cannot, the run is skipped, the board gives the reason, and other runs go on.

        Raises:
            HarnessError: it cannot learn from them.
        """
        ...


@runtime_checkable
class ReadsPaths(Protocol):
    """A method whose settings hold paths."""

    def relative_to(self, folder: Path) -> "Method":
        """The same method, with relative paths that start from a folder, which is that of the suite's file.

        The settings themselves do not change: results hold them, and must not hold paths of one machine.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """A method whose fitted model can be exported."""

    def export(self, data: TrainingData, context: "FitContext", folder: Path) -> None:
        """Write the fitted model into an empty folder."""
        ...


@runtime_checkable
class Diagnoses(Protocol):
    """A method with diagnostics from train and validation."""

    def diagnose(self, data: TrainingData, context: "FitContext", report: StepCallback) -> Sequence[DiagnosticTable]:
        """Diagnostics of why the method works, or does not."""
        ...


@dataclass(frozen=True)
class FitContext:
    """Arguments of a fit besides the data.

    Attributes:
        budget: the same for every trainable method.
        seed: for all random draws of the method.
        device: `cpu` or `cuda`.
        artefacts: trains models, or finds them where they were trained before.
    """

    budget: Budget
    seed: int
    device: str
    artefacts: Artefacts


class Method(Protocol):
    """A recommender. Its settings are a frozen dataclass, which is also their schema in results."""

    @property
    def settings(self) -> Any:
        """A frozen dataclass."""
        ...

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Learn from train and validation of the scenario's domains; test events are not in memory then."""
        ...


@runtime_checkable
class TrainsArtefacts(Protocol):
    """A method that lists what `fit` will get from `context.artefacts`, for the plan."""

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> Sequence[Artefact]:
        """Artefacts to train before `fit` is called with the same arguments."""
        ...


@dataclass(frozen=True)
class ScoringEstimate:
    """What ranking the test users' candidates will take.

    Attributes:
        tokens: tokens in forward passes.
        flops: floating-point operations.
    """

    tokens: float
    flops: float


@runtime_checkable
class EstimatesScoring(Protocol):
    """A method whose scoring takes long enough to be planned."""

    def scoring_estimate(self, data: TrainingData, n_users: int, sizes: Sequence[int]) -> ScoringEstimate:
        """Estimate what a run takes after its trainings.

        Args:
            data: of the scenario.
            n_users: number of test users.
            sizes: items of each of the suite's candidate sets.
        """
        ...


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method without any."""


def settings_of(method: Method) -> dict[str, Any]:
    """A method's settings as JSON values."""
    return dataclasses.asdict(method.settings)


class DotProduct:
    """A `VectorScorer` from item vectors and a function that turns histories into vectors."""

    def __init__(self, items: Floats32, encode: Callable[[Histories], Floats32]) -> None:
        self._items = items
        self._encode = encode

    def item_vectors(self) -> Floats32:
        """One vector for each item of the target catalogue: float32 [n_items, d]."""
        return self._items

    def history_vectors(self, histories: Histories) -> Floats32:
        """One vector for each user: float32 [n_users, d]."""
        return self._encode(histories)

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Dot products: float32 [n_users, n_candidates]."""
        return gather_candidates(self._encode(histories) @ self._items.T, candidates)


def learns_from(method: Method, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
    """The domains that a method uses, target first; all unless it has `learns_from`."""
    return tuple(method.learns_from(target, sources)) if isinstance(method, LearnsFrom) else (target, *sources)


def reference_of(method: Method) -> str | None:
    """The name of the method that a method is compared with, or None."""
    return method.reference if isinstance(method, HasReference) else None


def content_of(method: Method) -> dict[str, str]:
    """Digests of the files besides the data that a method's scores depend on."""
    return dict(method.content()) if isinstance(method, HasContent) else {}


def gather_candidates(scores: Floats32, candidates: Ints | None) -> Floats32:
    """The candidates' columns of a score matrix over the whole catalogue.

    Args:
        scores: float32 [n_users, n_items].
        candidates: int64 [n_users, n_candidates], or None for all.
    """
    return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)
