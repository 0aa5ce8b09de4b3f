"""What the harness asks of a method, and how it finds methods: by entry point, as it would a stranger's."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.data.domain import Ints
from harness.errors import HarnessError, UnavailableError
from harness.protocol.scenario import Budget
from harness.protocol.split import Histories, TrainingData
from harness.resuming import Checkpoint
from harness.together import ALONE, Together

Floats32 = NDArray[np.float32]

ENTRY_POINTS = "cdsr_harness.methods"
#: Entry points that make a method from the part of its name after the first dot: `recbole.NARM`.
FAMILIES = "cdsr_harness.method_families"

#: Tells how far a training is: (steps done, steps at most).
Report = Callable[[int, int], None]


def untold(done: int, total: int) -> None:
    """A report to nobody."""


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


@dataclass(frozen=True)
class Figures:
    """One diagnostic: a table, and what of it is drawn.

    Attributes:
        title: what it shows.
        note: how to read it.
        headings: of the columns.
        rows: cells, numbers or words.
        drawn: for a curve, the headings of its horizontal and its vertical axis, and of what tells curves apart.
    """

    title: str
    note: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    drawn: tuple[str, str, str] | None = None


@runtime_checkable
class HasContent(Protocol):
    """A method whose scores depend on files beside data, settings and code, such as pre-trained weights.

    A result is named by its data, settings, code and this. A method that reads a file and does not say so here keeps
    its old results when the file changes.
    """

    def content(self) -> Mapping[str, str]:
        """Digests of those files, by what they are: `{"backbone": harness.files.file_digest(path)}`."""
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

    def diagnose(self, data: TrainingData, context: "FitContext", report: Report) -> Sequence[Figures]:
        """What can be measured of why it works, or does not."""
        ...


@dataclass(frozen=True)
class TrainingRecord:
    """What a training did; part of every result that used what it made.

    Attributes:
        validation: NDCG@10 on validation after each evaluation, in order.
        steps: optimiser steps made.
        best_step: the step whose weights were kept.
        trainable_parameters: number of weights that were trained.
        notes: what a reader of the result should know, such as which training path was taken.
    """

    validation: tuple[float, ...]
    steps: int
    best_step: int
    trainable_parameters: int
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Estimate:
    """What a training will take, told before it starts; within a factor of two or so.

    Attributes:
        tokens: that go through the model, forwards and backwards.
        flops: floating-point operations.
        memory_gb: of 10^9 bytes, at the peak.
    """

    tokens: float
    flops: float
    memory_gb: float


@dataclass(frozen=True)
class MakeContext:
    """What making an artefact is given beside its folder.

    Attributes:
        device: `cpu` or `cuda`.
        report: told how far it is.
        checkpoint: from which a training that was killed may go on, and where it may leave what it needs to.
        together: the processes that make it; several only of what says `shared`.
    """

    device: str
    report: Report
    checkpoint: Checkpoint
    together: Together = ALONE


@dataclass(frozen=True)
class Artefact:
    """Something trained, named by what goes into it; made once, shared by all that need it.

    Attributes:
        kind: folder name in the store, such as `lora`.
        label: what it is, for people: `LoRA on comedy + drama, seed 0`.
        inputs: all that decides the content: data fingerprints, settings, budget, seed (JSON values).
        make: writes the files into an empty folder and says what it did. Its code, and all first-party code that it
            depends on, is part of the artefact's key; see `harness.identity`.
        estimate: says what `make` will take, without making anything; None where nobody can tell.
        shared: whether several processes can make it together.
        depends_on: more code that decides the content, as `module` or `module:name`: what `make` finds by a name in a
            string, so that following imports does not show it.
        made_from: other artefacts that it is made from: their keys are part of its key.
    """

    kind: str
    label: str
    inputs: Mapping[str, Any]
    make: Callable[[Path, MakeContext], TrainingRecord]
    estimate: Callable[[], Estimate] | None = None
    shared: bool = False
    depends_on: tuple[str, ...] = ()
    made_from: tuple["Artefact", ...] = ()


class Artefacts(Protocol):
    """Where a method gets what was trained."""

    def obtain(self, artefact: Artefact) -> Path:
        """The folder with the artefact's files; trains it first if it was never trained."""
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
        return pick(self._encode(histories) @ self._items.T, candidates)


def learns_from(method: Method, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
    """The domains that a method looks at, target first; all, if it does not say."""
    return tuple(method.learns_from(target, sources)) if isinstance(method, LearnsFrom) else (target, *sources)


def reference_of(method: Method) -> str | None:
    """The name of the method that a method is compared with; None if it names none."""
    return method.reference if isinstance(method, HasReference) else None


def content_of(method: Method) -> dict[str, str]:
    """Digests of the files that decide a method's scores beside data, settings and code."""
    return dict(method.content()) if isinstance(method, HasContent) else {}


def pick(scores: Floats32, candidates: Ints | None) -> Floats32:
    """The candidates' columns of a score matrix over the whole catalogue.

    Args:
        scores: float32 [n_users, n_items].
        candidates: int64 [n_users, n_candidates], or None for all.
    """
    return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)


def method_names() -> list[str]:
    """Names of all installed methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(_only("Method", name, offered).name for name, offered in _entries(ENTRY_POINTS).items())


def family_names() -> list[str]:
    """Names of all installed families of methods.

    Raises:
        HarnessError: two distributions offer one name.
    """
    return sorted(_only("Family of methods", name, offered).name for name, offered in _entries(FAMILIES).items())


def make_method(name: str) -> Method:
    """A method with its default settings.

    Raises:
        HarnessError: no such method, or one that two distributions offer; or its code raises something.
        UnavailableError: its package cannot be imported.
    """
    make, entry = factory_of(name), _entry(name)
    with _told_as_made(name, entry):
        return make() if entry.group == ENTRY_POINTS else make(name.partition(".")[2])


def factory_of(name: str) -> Callable[..., Method]:
    """What makes a method of that name; a family's is given the part of the name after the first dot.

    Raises:
        HarnessError, UnavailableError: as `make_method`.
    """
    entry = _entry(name)
    with _told_as_made(name, entry):
        factory: Callable[..., Method] = entry.load()
        return factory


@contextmanager
def _told_as_made(name: str, entry: EntryPoint) -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except ImportError as error:
        raise UnavailableError(f"Method {name!r} cannot be imported: {error}.", "Install what it needs.") from error
    except Exception as error:
        whose = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        raise HarnessError(
            f"Method {name!r}{whose} (entry point {entry.value}) cannot be made: {type(error).__name__}: {error}.",
            "Report it to its authors, or run without it.",
        ) from error


def not_installed() -> dict[str, str]:
    """What methods and families lack, by name, of those whose packages are not all installed.

    Looks for modules without importing them; packages around a module are imported, and say what they lack.
    """
    offered = {**{f"{name}.<name>": found for name, found in _entries(FAMILIES).items()}, **_entries(ENTRY_POINTS)}
    lacking = {}
    for name, entries in offered.items():
        try:
            if find_spec(entries[0].module) is None:
                lacking[name] = f"Module {entries[0].module!r} cannot be found."
        except (ImportError, UnavailableError) as error:
            lacking[name] = str(error)
    return lacking


def packages_of(name: str) -> tuple[str, ...]:
    """Top-level packages of the methods that come in one distribution with this one."""
    entry = _entry(name)
    home = _distribution(entry)
    siblings = [e for entries in _entries(entry.group).values() for e in entries if home and _distribution(e) == home]
    return tuple(sorted({e.module.partition(".")[0] for e in siblings or [entry]}))


def _entries(group: str) -> dict[str, list[EntryPoint]]:
    """What is offered under each name, by one distribution or several."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, []).append(entry)
    return found


def _entry(name: str) -> EntryPoint:
    entries, families = _entries(ENTRY_POINTS), _entries(FAMILIES)
    family, _, member = name.partition(".")
    if name in entries:
        return _only("Method", name, entries[name])
    if member and family in families:
        return _only("Family of methods", family, families[family])
    raise HarnessError.unknown("method", name, [*entries, *(f"{name}.<name>" for name in families)])


def _only(kind: str, name: str, offered: Sequence[EntryPoint]) -> EntryPoint:
    distributions = sorted({_distribution(entry) for entry in offered})
    if len(distributions) > 1:
        removed = next(name for name in reversed(distributions) if name != "cdsr-harness")
        raise HarnessError(
            f"{kind} {name!r} is offered by several installed distributions: {', '.join(distributions)}.",
            f"Uninstall one of them, such as by: pip uninstall {removed}, or rename its entry point.",
        )
    return offered[0]


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""
