"""What the harness asks of a method: an interface, and optional capabilities that it looks for."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.methods.artefact import Artefact, Artefacts, StepCallback
from harness.protocol.scenario import Budget
from harness.protocol.split import Histories, TrainingData
from harness.training.diagnostics import DiagnosticTable as DiagnosticTable  # part of this interface

Floats32 = NDArray[np.float32]


class Scorer(Protocol):
    """A fitted method."""

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores candidates for each user; higher is better, ties are allowed, NaN is an error.

        -inf says that an item is not recommended at all: held out, it is a miss, not a tie with others of that kind.

        Args:
            histories: n_users users and their target-domain items so far.
            candidates: int64 [n_users, n_candidates], or None for the whole target catalogue in order.

        Returns:
            float32 [n_users, n_candidates].
        """
        ...


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer with vectors by which FAISS retrieves for it; its scores may be their dot products, or others."""

    def item_vectors(self) -> Floats32:
        """One vector for each item of the target catalogue: float32 [n_items, d]."""
        ...

    def history_vectors(self, histories: Histories) -> Floats32:
        """One vector for each user: float32 [n_users, d]."""
        ...


@runtime_checkable
class ReportsValidity(Protocol):
    """A scorer whose answers may be invalid, as a text generator's."""

    def validity(self) -> Mapping[str, float]:
        """Of the answers given since it was last asked: `answers`, how many, and the share with each fault."""
        ...


@runtime_checkable
class HasContent(Protocol):
    """A method whose scores depend on files beside data, settings and code, such as pre-trained weights.

    A result is named by its data, settings, code and this. A method that reads a file and does not say so here keeps
    its old results when the file changes.
    """

    def content(self) -> Mapping[str, str]:
        """Digests of those files, by what they are: `{"backbone": harness.storage.files.file_digest(path)}`."""
        ...


@runtime_checkable
class DependsOn(Protocol):
    """A method that finds some of its code by a name in a string, where following imports does not show it."""

    @property
    def depends_on(self) -> Sequence[str]:
        """That code, as `module` or `module:name`."""
        ...


@runtime_checkable
class LearnsFrom(Protocol):
    """A method that says which domains it looks at; of one that does not, all of the scenario's are meant."""

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains that it looks at, target first."""
        ...


@runtime_checkable
class HasReference(Protocol):
    """A method that is compared with another: the same without source domains. Without this, it is with none."""

    @property
    def reference(self) -> str | None:
        """The name of that other method; None for no comparison."""
        ...


@runtime_checkable
class ChecksFiles(Protocol):
    """A method that needs files beside data, and can be planned without them."""

    def check_files(self) -> None:
        """Finds out, before anything starts, whether all it needs is there.

        Raises:
            HarnessError: a file is missing.
        """
        ...


@runtime_checkable
class ChecksData(Protocol):
    """A method that cannot learn from all data."""

    def check_data(self, data: TrainingData) -> None:
        """Finds out, while a run is planned, whether the method can learn from these data.

        A run that cannot be made is skipped, the board says why, and the others go on.

        Raises:
            HarnessError: it cannot.
        """
        ...


@runtime_checkable
class ReadsPaths(Protocol):
    """A method whose settings hold paths."""

    def relative_to(self, folder: Path) -> "Method":
        """The same method, whose relative paths start from a folder: that of the suite's file.

        The settings stay as they are written: results hold them, and no path of anybody's machine.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """A method whose fitted model others can load."""

    def export(self, data: TrainingData, context: "FitContext", folder: Path) -> None:
        """Writes the fitted model into an empty folder."""
        ...


@runtime_checkable
class Diagnoses(Protocol):
    """A method that can show why it scores as it does, on train and validation alone."""

    def diagnose(self, data: TrainingData, context: "FitContext", report: StepCallback) -> Sequence[DiagnosticTable]:
        """What can be measured of why it works, or does not."""
        ...


@dataclass(frozen=True)
class FitContext:
    """What a fit is given beside the data.

    Attributes:
        budget: the same for every trainable method.
        seed: for all random draws of the method.
        device: `cpu` or `cuda`.
        artefacts: where trained things come from.
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
        """Learns from train and validation of every domain of the scenario; never sees a test event."""
        ...


@runtime_checkable
class TrainsArtefacts(Protocol):
    """A method that can say beforehand what it will ask of `context.artefacts`, for the plan."""

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> Sequence[Artefact]:
        """All that is worth training beforehand of what `fit` will obtain with the same arguments."""
        ...


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method that has none."""


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
    """The domains that a method looks at, target first; all, if it does not say."""
    return tuple(method.learns_from(target, sources)) if isinstance(method, LearnsFrom) else (target, *sources)


def reference_of(method: Method) -> str | None:
    """The name of the method that a method is compared with; None if it names none."""
    return method.reference if isinstance(method, HasReference) else None


def content_of(method: Method) -> dict[str, str]:
    """Digests of the files that decide a method's scores beside data, settings and code."""
    return dict(method.content()) if isinstance(method, HasContent) else {}


def gather_candidates(scores: Floats32, candidates: Ints | None) -> Floats32:
    """The candidates' columns of a score matrix over the whole catalogue.

    Args:
        scores: float32 [n_users, n_items].
        candidates: int64 [n_users, n_candidates], or None for all.
    """
    return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)
