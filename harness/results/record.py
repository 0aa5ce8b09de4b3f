"""The result of one run: one method on one scenario with one seed. Plain data, validated when read."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.data.ties import TieAudit
from harness.protocol.suite import conditions
from harness.storage.files import digest
from harness.tuning.record import Tuning


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScenarioRecord(_Record):
    """The scenario as it was run."""

    name: str
    target: str
    sources: tuple[str, ...]
    split: str
    """With its instants, where it has some: `temporal/<validation from>/<test from>`, in Unix seconds (with a
    fraction where they have one)."""
    overlap: str
    overlap_seed: int
    k_core: dict[str, int]


class DomainRecord(_Record):
    """One domain's content, by fingerprint, and its size."""

    fingerprint: str
    source: dict[str, Any]
    """How it was read."""
    timed: bool
    """Whether it has timestamps."""
    users: int
    items: int
    training_interactions: int
    validation_users: int
    ties: TieAudit | None = Field(default=None, exclude_if=lambda audit: audit is None)
    """The audit of the order of its events; None in older results."""


class LeakageRecord(_Record):
    """Training data that are later than test events; see `harness.protocol.leakage`."""

    later: dict[str, int] | None = None
    exposed_users: float | None = None
    exposed_by_own: float | None = None
    unknown: str | None = None
    """Why the leakage cannot be known, if it cannot."""


class CandidatesRecord(_Record):
    """Metrics among one candidate set, or the reason why there are none."""

    digest: str | None
    """SHA-256 of the table of candidates, for drawn ones."""
    metrics: dict[str, dict[str, float | None]] | None
    """Slice -> metric -> mean over the slice's users; None for an empty slice."""
    absent: str | None = None
    index: str | None = None
    """Kind of the index, for retrieved candidates."""
    recall: float | None = None
    """Its recall against an exact index; of an approximate one the mean over `recall_users` users drawn at random."""
    recall_interval: tuple[float, float] | None = None
    """95 % confidence interval (Wilson) of an approximate index's recall over all users."""
    recall_users: int | None = None
    unscored: int | None = None
    """Users for whom the method gave no candidate a finite score; None in older results."""
    description: str | None = Field(default=None, exclude_if=lambda description: description is None)
    """What is ranked, in words, for candidate sets that say it."""


class ArtefactRecord(_Record):
    """One trained artefact that the run used, from its store's manifest."""

    kind: str
    label: str
    key: str
    validation: tuple[float, ...]
    """NDCG@10 on validation after each evaluation, in order."""
    steps: int
    best_step: int
    trainable_parameters: int
    notes: dict[str, Any]


class ArtefactCost(_Record):
    """Cost of training one artefact."""

    label: str
    key: str
    wall_s: float
    cpu_s: float | None = Field(default=None, exclude_if=lambda seconds: seconds is None)
    """Seconds of CPU, of all threads; None in older results."""
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None = None


class Code(_Record):
    """Which code made the result."""

    version: str
    source: str
    """SHA-256 over the code of the harness and of the method's packages; see `harness.storage.code_identity`."""


class Provenance(_Record):
    """Time and machine of the run."""

    created: str
    """UTC, ISO 8601."""
    commit: str | None
    """Git commit of the code, or None where it did not run from a checkout."""
    clean: bool | None
    """Whether the checkout held no change to tracked files (leaderboards aside)."""
    device: str
    hardware: dict[str, str]


class Cost(_Record):
    """Time and memory. Memory is the peak of the process, and of torch on a GPU, in MB of 10^6 bytes; times are
    wall-clock seconds."""

    fit_s: float
    score_s: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None = None
    artefacts: tuple[ArtefactCost, ...]


class OutsideRecord(_Record):
    """Scores or ranked lists that code outside the harness made: the harness ranked them, and ran no method."""

    files: dict[str, str]
    """Candidate set -> SHA-256 of the file that it was scored from; `full` stands for all that are not named."""
    lists: bool
    """Whether the file holds ranks or lists and not scores."""
    list_length: int | None
    """Fewest candidates listed for a user, of those that have any; None if all have scores for all candidates of
    `full`. At larger cutoffs, a held-out item that is not listed counts as a miss."""
    missing_users: int
    """Test users without a row. They count as misses."""
    other_users: int
    """Users in the file without a test event. They are left out."""
    history_items: int
    """Rows of items in the user's own history, which are no candidates of `full`."""


def result_path(suite: str, version: int, scenario: str, method: str, seed: int) -> Path:
    """The path of a result file below a results folder."""
    return Path(suite, f"v{version}", scenario, f"{method}-seed{seed}.json")


class RunResult(_Record):
    """One run. All but `provenance` and `cost` is equal for two runs with the same seed on machines of one kind.

    Other machines sum in another order, and use float32 where they lack bfloat16. The notes of a training say what it
    used, and `provenance` names the machine.
    """

    schema_version: Literal[4] = 4
    key: str
    """The result's key in the store that it was made in."""
    suite: str
    suite_version: int
    scenario: ScenarioRecord
    method: str
    settings: dict[str, Any]
    tuning: Tuning | None
    """The trials that chose the settings; None for defaults."""
    content: dict[str, str] = {}
    """Digests of other files that decide the scores, such as pre-trained weights."""
    learns_from: tuple[str, ...]
    """The domains that the method reads, the target first."""
    reference: str | None
    """The method that this one is compared with, the same without source domains; None without comparison."""
    seed: int
    budget: dict[str, int]
    data: dict[str, DomainRecord]
    leakage: LeakageRecord
    candidates: dict[str, CandidatesRecord]
    candidate_seed: int
    least_recall: float
    """What an approximate index had to find of what an exact one finds."""
    test_users: int | None = Field(default=None, exclude_if=lambda n: n is None)
    """Number of test users that the suite draws; None if it takes all."""
    user_limit: int | None = Field(default=None, exclude_if=lambda n: n is None)
    """Number of users of every domain in a trial run; None if it took all."""
    left_out: int
    """Users of the target without a test event: too short a history, or no event after the split's instant."""
    slices: dict[str, int]
    """Users in each slice."""
    validity: dict[str, dict[str, float]] | None = None
    """For a method that writes its answers, by candidates: the number of answers, and the share with each fault. Users
    with such an answer score 0 and are never dropped."""
    training: tuple[ArtefactRecord, ...]
    ranks_sha256: str
    users_sha256: str
    """Digest of the users and held-out items of the rows of ranks; see `TestUsers`."""
    lists_sha256: str | None = Field(default=None, exclude_if=lambda sha256: sha256 is None)
    """SHA-256 of the file of recommendation lists; None if the run kept none."""
    items_sha256: str | None = Field(default=None, exclude_if=lambda sha256: sha256 is None)
    """Digest of the catalogue that the lists are of; see `CatalogueItems`."""
    outside: OutsideRecord | None = Field(default=None, exclude_if=lambda outside: outside is None)
    """For a result that was scored outside: what its file held; None if the harness ran the method."""
    code: Code
    packages: dict[str, str]
    provenance: Provenance
    cost: Cost

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
