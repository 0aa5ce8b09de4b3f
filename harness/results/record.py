"""The result of one run: one method on one scenario with one seed. Plain data, validated when read."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.data.ties import TieAudit
from harness.protocol.suite import conditions
from harness.storage.files import digest
from harness.tuning.record import Tuning


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _absent_if_none(default: Any = None) -> Any:
    """A field that is left out of the file while it is None, so that the digests of older results do not change."""
    return Field(default=default, exclude_if=lambda value: value is None)


class ScenarioRecord(_Record):
    """The scenario as it was run."""

    name: str
    """Its name, such as `drama-from-action+comedy`."""
    target: str
    """The target domain."""
    sources: tuple[str, ...]
    """The source domains."""
    split: str
    """The split, with its instants if it has any: `temporal/<validation from>/<test from>`, in Unix seconds, with a
    fraction where they have one."""
    overlap: str
    """`kept`, or `none` if each shared user was left in one domain only."""
    overlap_seed: int
    """Seed of the draw of `none`."""
    k_core: dict[str, int]
    """Domain -> k: the fewest interactions of each user and item."""


class DomainRecord(_Record):
    """One domain: its content, by fingerprint, and its size."""

    fingerprint: str
    """SHA-256 (hex) of the prepared content."""
    source: dict[str, Any]
    """How it was read: the name of the source, and its options."""
    timed: bool
    """Whether it has timestamps."""
    users: int
    """Number of users."""
    items: int
    """Number of items in the catalogue."""
    training_interactions: int
    """Number of training events."""
    validation_users: int
    """Number of users with a validation event."""
    ties: TieAudit | None = _absent_if_none()
    """The audit of the order of its events; absent in older results."""


class LeakageRecord(_Record):
    """Training data that are later than test events."""

    later: dict[str, int] | None = None
    """Domain -> number of training and validation events later than the first test event."""
    exposed_users: float | None = None
    """Share, from 0 to 1, of test users for whom training data hold later events."""
    exposed_by_own: float | None = None
    """Share, from 0 to 1, of test users for whom these are their own events."""
    unknown: str | None = None
    """Why the leakage cannot be known, if it cannot."""


class CandidatesRecord(_Record):
    """Metrics among one candidate set, or the reason why there are none."""

    digest: str | None
    """SHA-256 (hex) of the table of candidates, for drawn ones."""
    metrics: dict[str, dict[str, float | None]] | None
    """Slice -> metric -> mean over the slice's users; null for an empty slice."""
    absent: str | None = None
    """Why there are no metrics, if there are none."""
    index: str | None = None
    """Kind of the index, for retrieved candidates."""
    recall: float | None = None
    """Recall of the index against an exact one, from 0 to 1."""
    recall_interval: tuple[float, float] | None = None
    """95 % confidence interval (Wilson) of an approximate index's recall over all users."""
    recall_users: int | None = None
    """Number of users, drawn at random, that an approximate index's recall is the mean over."""
    unscored: int | None = None
    """Number of users for whom no candidate has a finite score; null in older results."""
    description: str | None = _absent_if_none()
    """What is ranked, in words, for candidate sets that say it."""


class ArtefactRecord(_Record):
    """One trained artefact that the run used."""

    kind: str
    """Kind of artefact, such as `lora`."""
    label: str
    """Description, such as `LoRA on action + drama, seed 0`."""
    key: str
    """SHA-256 (hex) of all that decides it: its key in the store."""
    validation: tuple[float, ...]
    """Validation NDCG@10 after each evaluation, in order."""
    steps: int
    """Optimiser steps made."""
    best_step: int
    """The step whose weights were kept."""
    trainable_parameters: int
    """Number of trained weights."""
    notes: dict[str, Any]
    """What else a reader should know, such as the training path or the chosen merging weights."""


class EnergyRecord(_Record):
    """Energy that one piece of work used, by an offline tracker. Optional, and an estimate where it says so."""

    tracker: str
    """Name and version of the tracker."""
    cpu_kwh: float
    """Energy of the CPU, in kWh."""
    gpu_kwh: float
    """Energy of the GPUs, in kWh."""
    ram_kwh: float
    """Energy of the memory, in kWh."""
    estimated: tuple[Literal["cpu", "gpu", "ram"], ...]
    """The parts that no meter was read for: their energy is power by a model of the hardware, times time."""
    shared: tuple[Literal["cpu", "gpu", "ram"], ...]
    """The parts of which the whole device was read, whatever else ran on it meanwhile."""
    seconds: float
    """Wall-clock seconds that were tracked; of a resumed training, only those since it was resumed."""
    country: str | None
    """ISO 3166-1 alpha-3 code of the country whose electricity was used; null if it was not given."""
    co2_kg: float | None
    """Emissions in kg of CO2 equivalent: energy times the country's yearly mean carbon intensity; null without a
    country."""

    @property
    def kwh(self) -> float:
        """Energy of all parts, in kWh."""
        return self.cpu_kwh + self.gpu_kwh + self.ram_kwh


class ArtefactCost(_Record):
    """Cost of training one artefact."""

    label: str
    """Description of the artefact."""
    key: str
    """Key of the artefact in the store."""
    wall_s: float
    """Wall-clock seconds."""
    cpu_s: float | None = _absent_if_none()
    """CPU-seconds of all threads; absent in older results."""
    peak_memory_mb: float
    """Peak resident memory of the process, in MB of 10^6 bytes."""
    peak_gpu_memory_mb: float | None = None
    """Peak GPU memory of torch, in MB of 10^6 bytes; null on a CPU."""
    device: str | None = _absent_if_none()
    """`cpu` or `cuda`; absent in older results."""
    hardware: dict[str, str] | None = _absent_if_none()
    """The machine that trained it; absent in older results."""
    energy: EnergyRecord | None = _absent_if_none()
    """Energy of the training; absent if it was not tracked."""


class Code(_Record):
    """Which code made the result."""

    version: str
    """Version of the harness."""
    source: str
    """SHA-256 (hex) of the code of the harness and of the method's packages."""


class Provenance(_Record):
    """Time and machine of the run."""

    created: str
    """Time in UTC, ISO 8601."""
    commit: str | None
    """Git commit of the code; null outside a checkout."""
    clean: bool | None
    """Whether the checkout held no changes to tracked files, leaderboards aside."""
    device: str
    """`cpu` or `cuda`."""
    hardware: dict[str, str]
    """Processor, memory, GPU and arithmetic of the machine."""


class Cost(_Record):
    """Time, memory and energy of the run. Trainings that it found in the store are in `artefacts` alone."""

    fit_s: float
    """Wall-clock seconds of `fit`, with the artefacts that it trained itself."""
    score_s: float
    """Wall-clock seconds of ranking."""
    peak_memory_mb: float
    """Peak resident memory of the process, in MB of 10^6 bytes."""
    peak_gpu_memory_mb: float | None = None
    """Peak GPU memory of torch, in MB of 10^6 bytes; null on a CPU."""
    artefacts: tuple[ArtefactCost, ...]
    """The training cost of each artefact that the run used."""
    energy: EnergyRecord | None = _absent_if_none()
    """Energy of fitting and ranking, without that of `artefacts`; absent if it was not tracked."""


class OutsideRecord(_Record):
    """Scores or ranked lists that code outside the harness made: the harness ranked them, and ran no method."""

    files: dict[str, str]
    """Candidate set -> SHA-256 (hex) of the file that it was scored from; `full` stands for all that are not named."""
    lists: bool
    """Whether the file holds ranks or lists and not scores."""
    list_length: int | None
    """Fewest candidates listed for a user, of those that have any; null if all have scores for all candidates of
    `full`. At larger cutoffs, a held-out item that is not listed counts as a miss."""
    missing_users: int
    """Number of test users without a row. They count as misses."""
    other_users: int
    """Number of users in the file without a test event. They are left out."""
    history_items: int
    """Number of rows of items in the user's own history, which are no candidates of `full`."""


def result_path(suite: str, version: int, scenario: str, method: str, seed: int) -> Path:
    """The path of a result file below a results folder."""
    return Path(suite, f"v{version}", scenario, f"{method}-seed{seed}.json")


class RunResult(_Record):
    """One run. All but `provenance` and `cost` is equal for two runs with the same seed on machines of one kind.

    Other machines sum in another order, and use float32 where they lack bfloat16. The notes of a training say what it
    used, and `provenance` names the machine.
    """

    schema_version: Literal[4] = 4
    """Version of this form."""
    key: str
    """The result's key in the store that it was made in."""
    suite: str
    """Name of the suite."""
    suite_version: int
    """Version of the suite."""
    scenario: ScenarioRecord
    """The scenario as it was run."""
    method: str
    """Name of the method, or of a suite's variant."""
    settings: dict[str, Any]
    """All settings of the method."""
    tuning: Tuning | None
    """The trials that chose the settings; null for defaults."""
    content: dict[str, str] = {}
    """Name -> SHA-256 (hex) of other files that decide the scores, such as pre-trained weights."""
    learns_from: tuple[str, ...]
    """The domains that the method reads, the target first."""
    reference: str | None
    """The method that this one is compared with, the same without source domains; null if there is none."""
    seed: int
    """Seed of all random draws of the method."""
    budget: dict[str, int]
    """The training budget: `trials`, `epochs` and `patience`."""
    data: dict[str, DomainRecord]
    """Domain -> its content and size."""
    leakage: LeakageRecord
    """Training data that are later than test events."""
    candidates: dict[str, CandidatesRecord]
    """Candidate set -> metrics."""
    candidate_seed: int
    """Seed of drawn candidates."""
    least_recall: float
    """The recall, from 0 to 1, below which an approximate index is refused."""
    test_users: int | None = _absent_if_none()
    """Number of test users that the suite draws; absent if it takes all."""
    user_limit: int | None = _absent_if_none()
    """Number of users of every domain in a trial run (`--limit`); absent if it took all."""
    left_out: int
    """Number of users of the target without a test event: too short a history, or no event after the split's
    instant."""
    slices: dict[str, int]
    """Slice -> number of users."""
    validity: dict[str, dict[str, float]] | None = None
    """For methods that write answers: candidate set -> number of `answers`, and the share with each fault. Users with
    such an answer score 0 and are never dropped."""
    prompt_order: dict[str, dict[str, float]] | None = _absent_if_none()
    """For methods that show candidates in a prompt: candidate set -> what a second order of the candidates changes:
    number of `users` tried, mean `kendall_tau` of both rankings, the share of users with an `other_first` item, and the
    share whose first item is shown in the `first_third` of the prompt; absent for others."""
    training: tuple[ArtefactRecord, ...]
    """One record for each trained artefact that the run used."""
    ranks_sha256: str
    """SHA-256 (hex) of the file of ranks."""
    users_sha256: str
    """Digest of the users and held-out items of the rows of ranks."""
    lists_sha256: str | None = _absent_if_none()
    """SHA-256 (hex) of the file of recommendation lists; absent without lists."""
    items_sha256: str | None = _absent_if_none()
    """Digest of the catalogue of the lists; absent without lists."""
    outside: OutsideRecord | None = _absent_if_none()
    """For a result that was scored outside: what its file held; absent if the harness ran the method."""
    code: Code
    """Which code made the result."""
    packages: dict[str, str]
    """Package -> version, of those that can change a score."""
    provenance: Provenance
    """Time and machine of the run."""
    cost: Cost
    """Time, memory and energy."""

    @property
    def path(self) -> Path:
        """The path of the result file below a results folder."""
        return result_path(self.suite, self.suite_version, self.scenario.name, self.method, self.seed)

    @property
    def conditions(self) -> dict[str, object]:
        """What all results of its scenario must have in common; see `harness.protocol.suite`."""
        return conditions(
            data={name: record.fingerprint for name, record in self.data.items()},
            split=self.scenario.split.partition("/")[0],
            overlap=self.scenario.overlap,
            overlap_seed=self.scenario.overlap_seed,
            candidates=self.candidates,
            candidate_seed=self.candidate_seed,
            least_recall=self.least_recall,
            budget=self.budget,
            test_users=self.test_users,
            user_limit=self.user_limit,
        )

    def content_digest(self) -> str:
        """SHA-256 over all but `provenance` and `cost`: equal for two runs with equal outcomes."""
        # Fields that the file does not hold are left out, so that newer fields do not change the digest.
        return digest(self.model_dump(mode="json", exclude={"provenance", "cost"}, exclude_unset=True))
