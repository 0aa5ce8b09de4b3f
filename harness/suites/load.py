"""Suite files: YAML, validated, turned into the protocol's plain data."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.data.sources import Source, make_source, source_class
from harness.data.ties import TieOrder, TieRule
from harness.datasets import load_dataset
from harness.errors import HarnessError, UnavailableError
from harness.methods.registry import family_names, make_method, method_names
from harness.protocol.candidates import CandidateSet
from harness.protocol.overlap import OVERLAPS
from harness.protocol.scenario import Budget, DomainSpec, Scenario, Suite, scenario_name
from harness.protocol.split import SPLITS
from harness.storage.yaml_file import read_yaml
from harness.tuning.space import read_number
from harness.tuning.tunable import check_settings, configured

_FOLDER = Path(__file__).parent

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
_Positive = Annotated[int, Field(ge=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _DomainFile(_File):
    """A domain: the name of a data set, or a source with its options (which are the extra fields)."""

    model_config = ConfigDict(extra="allow")

    name: _Name
    dataset: str | None = None
    data_dir: Annotated[Path | None, Field(strict=False)] = None
    k_core: _Positive = 5
    ties: TieRule = "hashed"
    tie_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    fingerprint: _Sha256 | None = None

    def source(self) -> Source:
        """How it is read."""
        options: Mapping[str, Any] = self.model_extra or {}
        if (self.dataset is None) == ("source" not in options):
            raise ValueError(f"domain {self.name!r} must have either a dataset or a source")
        if self.dataset is not None:
            for option in options:
                unknown = HarnessError.unknown("key", option, type(self).model_fields)
                raise HarnessError(
                    f"domain {self.name!r}: {option!r} is not for a domain with a dataset.", unknown.hint
                )
            return load_dataset(self.dataset).source
        known = {**type(self).model_fields, **source_class(str(options["source"])).model_fields}
        for option in options:
            if option not in known:
                unknown = HarnessError.unknown("key", option, known)
                raise HarnessError(f"domain {self.name!r}: {option}: there is no such key.", unknown.hint)
        return make_source(options)

    def spec(self, folder: Path) -> DomainSpec:
        """The domain. Paths start from the suite file's folder; the files of a data set are the command's to find."""
        own = None if self.dataset and self.data_dir is None else folder / (self.data_dir or Path()).expanduser()
        if self.ties == "file" and "tie_seed" in self.model_fields_set:
            raise ValueError(f"domain {self.name!r}: tie_seed is for ties: hashed, not for ties: file")
        ties = TieOrder(self.ties, self.tie_seed)
        return DomainSpec(self.name, self.source(), self.k_core, self.fingerprint, own, ties)


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
    least_recall: Annotated[float, BeforeValidator(read_number), Field(ge=0, le=1)] = 0.99
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
            ("candidate set", self.candidates),
            ("seed", self.seeds),
            ("scenario", [self.scenario(s).name for s in self.scenarios]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"a {kind} is listed twice")
        if "full" not in self.candidates:
            raise ValueError("candidates must include 'full': sampled metrics are never reported alone")
        for key, methods in (("methods", self.methods), ("settings", self.settings)):
            for name in methods:
                _known_method(key, name)
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


def _known_method(key: str, name: str) -> None:
    names, families = method_names(), family_names()
    family, _, member = name.partition(".")
    if name not in names and not (member and family in families):
        known = [*names, *(f"{family}.<name>" for family in families)]
        raise ValueError(f"{key}: {HarnessError.unknown('method', name, known)}")


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
    shipped = path.parent.parent == _FOLDER
    try:
        file = _SuiteFile.model_validate(read_yaml(path))
        domains = tuple(domain.spec(path.parent) for domain in file.domains)
        candidates = tuple(CandidateSet.parse(text) for text in file.candidates)
        # Those of the harness's own suites are its tests' to check: it would take seconds to import the methods.
        settings = file.settings if shipped else {name: _checked(name, own) for name, own in file.settings.items()}
    except OSError as error:
        raise HarnessError(f"Cannot read the suite file {path}: {error.strerror}.", "Check the path.") from error
    except ValidationError as error:
        what, hint = _told(error)
        raise HarnessError(f"{path}: {what}", hint) from error
    except HarnessError as error:
        named = error.what if error.what.startswith(f"{path}: ") else f"{path}: {error.what}"
        raise HarnessError(named, error.hint) from error
    except ValueError as error:
        raise HarnessError(f"{path}: {error}.", "Fix the file.") from error
    if file.suite in suite_names() and not shipped:
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
        candidates=candidates,
        candidate_seed=file.candidate_seed,
        methods=tuple(file.methods),
        seeds=tuple(file.seeds),
        budget=Budget(**file.budget.model_dump()),
        least_recall=file.least_recall,
        settings=settings,
        tuned=path.with_suffix(".tuned"),
        file=path,
    )


def _checked(name: str, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that a suite gives a method, by dotted name, with values of the declared types."""
    try:
        method = make_method(name)
    except UnavailableError:  # it cannot run here, and nothing is known of its settings
        return own
    if own:
        configured(method, own, f"settings.{name}")
    return check_settings(method.settings, own)


def _told(error: ValidationError) -> tuple[str, str]:
    """What is wrong with a suite file, and what to do about it."""
    # A misspelt key also makes one lacking: the misspelling is what to mend.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    *parents, last = first["loc"] or ("",)
    where = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        kinds: dict[object, type[_File]] = {"scenarios": _ScenarioFile, "budget": _BudgetFile}
        known = kinds[parents[0]] if parents else _SuiteFile
        return f"{where}: there is no such key.", HarnessError.unknown("key", str(last), known.model_fields).hint
    if first["type"] == "missing":
        return f"{where}: missing.", "Add it."
    if first["type"] == "value_error":
        return f"{first['msg'].removeprefix('Value error, ').rstrip('.')}.", "Fix the file."
    should = re.sub(r"^\w+ should", "It should", first["msg"]).rstrip(".")
    should = re.sub(r"valid dictionary( or instance of \w+)?", "mapping of keys to values", should)
    return f"{where}: found {str(json.dumps(first['input'], default=str, ensure_ascii=False))[:80]}.", f"{should}."


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
