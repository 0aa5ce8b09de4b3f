"""Suite files: YAML, validated, turned into the protocol's plain data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.data.sources import SOURCES
from harness.errors import HarnessError
from harness.protocol.candidates import CandidateSet
from harness.protocol.scenario import Budget, DomainSpec, Scenario, Suite

_FOLDER = Path(__file__).parent

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
_Positive = Annotated[int, Field(ge=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _DomainFile(_File):
    name: _Name
    source: str
    part: str
    k_core: _Positive = 5
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class _ScenarioFile(_File):
    target: _Name
    sources: Annotated[list[_Name], Field(min_length=1)]


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
    candidates: Annotated[list[str], Field(min_length=1)] = ["full", "sampled-30"]
    candidate_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    methods: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [0, 1, 2]
    budget: _BudgetFile

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> "_SuiteFile":
        names = [domain.name for domain in self.domains]
        for kind, values in (("domain", names), ("method", self.methods), ("seed", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"a {kind} is listed twice")
        if "full" not in self.candidates:
            raise ValueError("candidates must include 'full': sampled metrics are never reported alone")
        if self.split != "leave-one-out":
            raise ValueError(f"unknown split {self.split!r}; known: leave-one-out")
        for scenario in self.scenarios:
            for name in (scenario.target, *scenario.sources):
                if name not in names:
                    raise ValueError(str(HarnessError.unknown("domain", name, names)))
            if scenario.target in scenario.sources or len(set(scenario.sources)) < len(scenario.sources):
                raise ValueError(f"scenario with target {scenario.target!r} names a domain twice")
        return self


def suite_names() -> list[str]:
    """Names of the suites that come with the harness."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_suite(name_or_path: str) -> Suite:
    """A suite by name, or from a file of the user's (a path that ends in .yaml or .yml).

    Raises:
        HarnessError: no such suite, or its file is not valid; the message names the file and the entry.
    """
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        path = Path(name_or_path)
    elif name_or_path in suite_names():
        path = _FOLDER / f"{name_or_path}.yaml"
    else:
        raise HarnessError.unknown("suite", name_or_path, suite_names(), "Or give the path of a .yaml file.")
    try:
        file = _SuiteFile.model_validate(yaml.safe_load(path.read_bytes()))
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
    if file.suite in suite_names() and path.parent != _FOLDER:
        raise HarnessError(
            f"{path}: suite: {file.suite!r} is the name of a suite of the harness's own: their results would mix.",
            "Give the suite another name.",
        )
    for domain in file.domains:
        if domain.source not in SOURCES:
            raise HarnessError.unknown(f"source (in {path})", domain.source, SOURCES)
    return Suite(
        name=file.suite,
        version=file.version,
        title=file.title,
        domains=tuple(DomainSpec(**domain.model_dump()) for domain in file.domains),
        scenarios=tuple(_scenario(scenario) for scenario in file.scenarios),
        split=file.split,
        candidates=tuple(CandidateSet.parse(text) for text in file.candidates),
        candidate_seed=file.candidate_seed,
        methods=tuple(file.methods),
        seeds=tuple(file.seeds),
        budget=Budget(**file.budget.model_dump()),
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


def _scenario(file: _ScenarioFile) -> Scenario:
    return Scenario(f"{file.target}-from-{'+'.join(file.sources)}", file.target, tuple(file.sources))
