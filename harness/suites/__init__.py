"""Suite files: YAML, validated, turned into the protocol's plain data."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.data.sources import Source, make_source
from harness.datasets import load_dataset
from harness.errors import HarnessError
from harness.protocol.candidates import CandidateSet
from harness.protocol.overlap import OVERLAPS
from harness.protocol.scenario import Budget, DomainSpec, Scenario, Suite, scenario_name
from harness.protocol.split import SPLITS

_FOLDER = Path(__file__).parent

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
_Positive = Annotated[int, Field(ge=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _DomainFile(_File):
    """A domain: the name of a data set, or a source with its options (which are the extra fields)."""

    model_config = ConfigDict(extra="allow")

    name: _Name
    dataset: str | None = None
    data_dir: Path | None = None
    k_core: _Positive = 5
    fingerprint: _Sha256 | None = None

    def source(self) -> Source:
        """How it is read."""
        options: Mapping[str, Any] = self.model_extra or {}
        if (self.dataset is None) == ("source" not in options):
            raise ValueError(f"domain {self.name!r} must have either a dataset or a source")
        if self.dataset is not None:
            if options:
                raise ValueError(f"domain {self.name!r}: {next(iter(options))!r} is not for a domain with a dataset")
            return load_dataset(self.dataset).source
        return make_source(options)

    def spec(self, folder: Path) -> DomainSpec:
        """The domain; its data folder, if it names one, is taken from the suite file's folder."""
        own = None if self.data_dir is None else folder / self.data_dir
        return DomainSpec(self.name, self.source(), self.k_core, self.fingerprint, own)


class _ScenarioFile(_File):
    target: _Name
    sources: Annotated[list[_Name], Field(min_length=1)]
    split: str | None = None
    overlap: str | None = None
    candidates_sha256: dict[str, _Sha256] = {}


class _BudgetFile(_File):
    trials: _Positive
    epochs: _Positive
    patience: _Positive


class _SuiteFile(_File):
    suite: _Name
    version: _Positive
    title: str
    domains: Annotated[list[_DomainFile], Field(min_length=2)]
    scenarios: Annotated[list[_ScenarioFile], Field(min_length=1)]
    split: str = "leave-one-out"
    overlap: str = "kept"
    overlap_seed: Annotated[int, Field(ge=0)] = 0
    candidates: Annotated[list[str], Field(min_length=1)] = ["full", "sampled-30"]
    candidate_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    least_recall: Annotated[float, Field(ge=0, le=1)] = 0.99
    methods: Annotated[list[str], Field(min_length=1)]
    settings: dict[str, dict[str, Any]] = {}
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [0, 1, 2]
    budget: _BudgetFile

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> "_SuiteFile":
        names = [domain.name for domain in self.domains]
        for kind, values in (
            ("domain", names),
            ("method", self.methods),
            ("seed", self.seeds),
            ("scenario", [self.scenario(s).name for s in self.scenarios]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"a {kind} is listed twice")
        if "full" not in self.candidates:
            raise ValueError("candidates must include 'full': sampled metrics are never reported alone")
        for scenario in map(self.scenario, self.scenarios):
            for name in scenario.domains:
                _known("domain", name, names)
            _known("split", scenario.split, SPLITS)
            _known("overlap", scenario.overlap, OVERLAPS)
            if scenario.target in scenario.sources or len(set(scenario.sources)) < len(scenario.sources):
                raise ValueError(f"scenario with target {scenario.target!r} names a domain twice")
            for pinned, _ in scenario.pins:
                _known("candidates", pinned, self.candidates)
        return self

    def scenario(self, file: _ScenarioFile) -> Scenario:
        """A scenario; what it leaves open, the suite says for all. Its name tells what is not the usual."""
        split, overlap = file.split or self.split, file.overlap or self.overlap
        name = scenario_name(file.target, file.sources, split, overlap)
        pins = tuple(sorted(file.candidates_sha256.items()))
        return Scenario(name, file.target, tuple(file.sources), split, overlap, self.overlap_seed, pins)


def _known(kind: str, name: str, names: Iterable[str]) -> None:
    if name not in set(names):
        raise ValueError(str(HarnessError.unknown(kind, name, names)))


def suite_names() -> list[str]:
    """Names of the suites that come with the harness, without versions."""
    return sorted(path.name for path in _FOLDER.iterdir() if any(path.glob("v*.yaml")))


def suite_versions(name: str) -> list[int]:
    """Versions of a suite that comes with the harness, rising."""
    return sorted(int(path.stem[1:]) for path in (_FOLDER / name).glob("v*.yaml"))


def shipped_suite(name: str, version: int) -> Suite | None:
    """A suite that comes with the harness; None for any other."""
    known = name in suite_names() and version in suite_versions(name)
    return load_suite(f"{name}/v{version}") if known else None


def load_suite(name_or_path: str) -> Suite:
    """A suite by name (its newest version), as `name/v1`, or from a file of the user's (a path to .yaml or .yml).

    Raises:
        HarnessError: no such suite, or its file is not valid; the message names the file and the entry.
    """
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return _load(Path(name_or_path))
    name, _, version = name_or_path.partition("/")
    if name not in suite_names():
        raise HarnessError.unknown("suite", name, suite_names(), "Or give the path of a .yaml file.")
    versions = {f"v{number}" for number in suite_versions(name)}
    if version and version not in versions:
        raise HarnessError.unknown(f"version of suite {name}", version, versions)
    return _load(_FOLDER / name / f"{version or f'v{suite_versions(name)[-1]}'}.yaml")


def _load(path: Path) -> Suite:
    try:
        file = _SuiteFile.model_validate(yaml.safe_load(path.read_bytes()))
        domains = tuple(domain.spec(path.parent) for domain in file.domains)
    except OSError as error:
        raise HarnessError(f"Cannot read the suite file {path}: {error.strerror}.", "Check the path.") from error
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        line = f" line {at.line + 1}" if at else ""
        raise HarnessError(f"{path}:{line} is no valid YAML.", "Mend the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise HarnessError(f"{path}: {where + ': ' if where else ''}{message}.", "Mend the file.") from error
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", error.mend) from error
    except ValueError as error:
        raise HarnessError(f"{path}: {error}.", "Mend the file.") from error
    if file.suite in suite_names() and path.parent.parent != _FOLDER:
        raise HarnessError(
            f"{path}: suite: {file.suite!r} is the name of a suite of the harness's own: their results would mix.",
            "Give the suite another name.",
        )
    return Suite(
        name=file.suite,
        version=file.version,
        title=file.title,
        domains=domains,
        scenarios=tuple(map(file.scenario, file.scenarios)),
        candidates=tuple(CandidateSet.parse(text) for text in file.candidates),
        candidate_seed=file.candidate_seed,
        methods=tuple(file.methods),
        seeds=tuple(file.seeds),
        budget=Budget(**file.budget.model_dump()),
        least_recall=file.least_recall,
        settings=file.settings,
        tuned=path.with_suffix(".tuned"),
    )


def pick_scenarios(suite: Suite, names: Iterable[str]) -> tuple[Scenario, ...]:
    """Scenarios of a suite by name.

    Raises:
        HarnessError: a name the suite does not have.
    """
    known = {scenario.name: scenario for scenario in suite.scenarios}
    wanted = list(names)
    for name in wanted:
        if name not in known:
            raise HarnessError.unknown(f"scenario of suite {suite.name}", name, known)
    return tuple(scenario for name, scenario in known.items() if name in wanted)
