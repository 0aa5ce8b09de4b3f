"""The content of a suite file, validated: see docs/suite-file.md."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.data.sources import Source, make_source, source_class
from harness.data.ties import TieOrder, TieRule
from harness.datasets import load_dataset
from harness.errors import HarnessError
from harness.protocol.overlap import OVERLAPS
from harness.protocol.scenario import DomainSpec, Scenario, scenario_name
from harness.protocol.split import SPLITS
from harness.suites.methods import MethodEntry
from harness.tuning.space import read_number

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
_Positive = Annotated[int, Field(ge=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _or_names(schema: dict[str, Any]) -> None:
    """In a JSON Schema of a list of methods, allows names beside mappings."""
    schema["items"] = {"anyOf": [{"type": "string"}, schema["items"]]}


_Methods = Annotated[list[MethodEntry], Field(json_schema_extra=_or_names)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class DomainFile(_File):
    """A domain: the name of a data set, or a source with its options as further keys."""

    model_config = ConfigDict(extra="allow")

    name: _Name
    """Its name in scenarios."""
    dataset: str | None = None
    """A data set by name, as `harness data list` prints it. Null for a domain with a `source`."""
    data_dir: Annotated[Path | None, Field(strict=False)] = None
    """Folder of its files. Default: the suite file's folder for a source, `--data-dir` for a data set."""
    k_core: _Positive = 5
    """Fewest interactions of each user and item."""
    ties: TieRule = "hashed"
    """Order of a user's events at one time; `file` for files whose lines are in true order."""
    tie_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of `ties: hashed`."""
    fingerprint: _Sha256 | None = None
    """SHA-256 (hex) of the prepared content that is expected."""

    def source(self) -> Source:
        """The source that reads it."""
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
        """The domain. Paths start from the suite file's folder; those of a data set from the command's data folder."""
        in_data_folder = self.dataset and self.data_dir is None
        data_folder = None if in_data_folder else folder / (self.data_dir or Path()).expanduser()
        if self.ties == "file" and "tie_seed" in self.model_fields_set:
            raise ValueError(f"domain {self.name!r}: tie_seed is for ties: hashed, not for ties: file")
        ties = TieOrder(self.ties, self.tie_seed)
        return DomainSpec(self.name, self.source(), self.k_core, self.fingerprint, data_folder, ties)


class ScenarioFile(_File):
    """A scenario: a target domain and its sources."""

    target: _Name
    """The domain whose next items are predicted."""
    sources: Annotated[list[_Name], Field(min_length=1)]
    """One or more other domains."""
    split: str | None = None
    """Instead of the suite's."""
    overlap: str | None = None
    """Instead of the suite's."""
    candidates_sha256: dict[str, _Sha256] = {}
    """Candidate set -> SHA-256 (hex) of its table of drawn candidates."""


class BudgetFile(_File):
    """The training budget, the same for every method."""

    trials: _Positive
    """Settings that `harness tune` tries for each method; 1 means defaults."""
    epochs: _Positive
    """Most passes over the training data."""
    patience: _Positive
    """Validations without a better NDCG@10 before training stops."""


class SuiteFile(_File):
    """A suite: domains, scenarios, methods and budget of a benchmark."""

    suite: _Name
    """Name of the suite."""
    version: _Positive
    """Version of the suite; raised with every change that can move a score."""
    title: str
    """Title for people."""
    domains: Annotated[list[DomainFile], Field(min_length=2)]
    """Two or more domains."""
    scenarios: Annotated[list[ScenarioFile], Field(min_length=1)]
    """One or more scenarios."""
    split: str = "leave-one-out"
    """`leave-one-out`, `temporal` or `leave-one-out-selected-on-test`."""
    overlap: str = "kept"
    """`kept`, or `none`: each shared user is left in one domain only."""
    overlap_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of `overlap: none`."""
    candidates: Annotated[list[str], Field(min_length=1)] = ["full", "sampled-30"]
    """Candidate sets, `full` among them."""
    candidate_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of drawn candidates."""
    least_recall: Annotated[float, BeforeValidator(read_number), Field(ge=0, le=1)] = 0.99
    """Recall from 0 to 1 below which an approximate index is refused."""
    test_users: _Positive | None = None
    """Number of test users to rank, drawn by a hash of their ids and `candidate_seed`. Default: all."""
    methods: Annotated[_Methods, Field(min_length=1)]
    """Methods that a run includes."""
    more_methods: _Methods = []
    """Methods that `harness run --all` also runs, such as controls."""
    settings: dict[str, dict[str, Any]] = {}
    """Method -> settings that differ from its defaults; a dot leads inside: `retriever.history`."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [0, 1, 2]
    """Seeds; each method runs once with each."""
    budget: BudgetFile
    """The training budget."""
    retired: str | None = None
    """Why the suite is no longer run; null for a current one."""

    @model_validator(mode="after")
    def _check_references(self) -> "SuiteFile":
        names = [domain.name for domain in self.domains]
        for kind, values in (
            ("domain", names),
            ("candidate set", self.candidates),
            ("seed", self.seeds),
            ("scenario", [self.scenario(s).name for s in self.scenarios]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"a {kind} is listed twice")
        if "full" not in self.candidates:
            raise ValueError("candidates must include 'full': sampled metrics are never reported alone")
        for scenario in map(self.scenario, self.scenarios):
            for name in scenario.domains:
                _check_known("domain", name, names)
            _check_known("split", scenario.split, SPLITS)
            _check_known("overlap", scenario.overlap, OVERLAPS)
            if scenario.target in scenario.sources or len(set(scenario.sources)) < len(scenario.sources):
                raise ValueError(f"scenario with target {scenario.target!r} names a domain twice")
            for name, _ in scenario.pins:
                _check_known("candidates", name, self.candidates)
        return self

    def scenario(self, file: ScenarioFile) -> Scenario:
        """A scenario; its split and overlap are the suite's unless it has its own."""
        split, overlap = file.split or self.split, file.overlap or self.overlap
        name = scenario_name(file.target, file.sources, split, overlap)
        pins = tuple(sorted(file.candidates_sha256.items()))
        return Scenario(name, file.target, tuple(file.sources), split, overlap, self.overlap_seed, pins)


def _check_known(kind: str, name: str, names: Iterable[str]) -> None:
    if name not in set(names):
        raise ValueError(str(HarnessError.unknown(kind, name, names)))
