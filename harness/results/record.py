"""The result of one run: one method on one scenario with one seed. Plain data, validated on read."""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.ties import TieAudit
from harness.errors import HarnessError
from harness.files import digest, file_digest, write_atomically
from harness.protocol.metrics import per_user
from harness.protocol.ranking import Ranks
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
    """The audit of the order of its events; results from before there was one have none."""


class LeakageRecord(_Record):
    """What a method was shown that happened after what it was asked; see `harness.protocol.leakage`."""

    later: dict[str, int] | None = None
    exposed_users: float | None = None
    exposed_by_own: float | None = None
    unknown: str | None = None
    """Why nobody can tell, where that is so."""


class CandidatesRecord(_Record):
    """What was ranked. Either metrics are there, or the reason why not."""

    digest: str | None
    """SHA-256 of the drawn table, for sampled candidates."""
    metrics: dict[str, dict[str, float | None]] | None
    """Slice -> metric -> mean over the slice's users; None where the slice is empty."""
    absent: str | None = None
    index: str | None = None
    """The index, for retrieved candidates."""
    recall: float | None = None
    """Its recall against an exact index; of an approximate one the mean over `recall_users` users drawn at random."""
    recall_interval: tuple[float, float] | None = None
    """95 % confidence interval (Wilson) of an approximate index's recall over all users."""
    recall_users: int | None = None
    unscored: int | None = None
    """Users for whom the method gave no candidate a finite score; None in results from before it was counted."""


class ArtefactRecord(_Record):
    """One trained thing the run used, from its store's manifest."""

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
    """What it took to train one artefact, where it was trained."""

    label: str
    key: str
    wall_s: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None = None


class Code(_Record):
    """Which code made the result."""

    version: str
    source: str
    """SHA-256 over the source of the harness and of the method's packages."""


class Provenance(_Record):
    """When and where the result was made."""

    created: str
    """UTC, ISO 8601."""
    commit: str | None
    """Git commit of the code, or None where it did not run from a checkout."""
    clean: bool | None
    """Whether the checkout held no change to tracked files (leaderboards aside)."""
    device: str
    hardware: dict[str, str]


class Cost(_Record):
    """What it took. Memory is the peak of the process, and of torch on a GPU, in MB of 10^6 bytes; times are wall-clock
    seconds."""

    fit_s: float
    score_s: float
    peak_memory_mb: float
    peak_gpu_memory_mb: float | None = None
    artefacts: tuple[ArtefactCost, ...]


def result_path(suite: str, version: int, scenario: str, method: str, seed: int) -> Path:
    """Where a result stands below a results folder."""
    return Path(suite, f"v{version}", scenario, f"{method}-seed{seed}.json")


class RunResult(_Record):
    """One run. All but `provenance` and `cost` is the same whenever the same thing is run with the same seed.

    On machines of one kind: others add sums up in another order, and where there is no bfloat16 in hardware, float32
    stands in for it. What a training had is in its notes, and the machine in `provenance`.
    """

    schema_version: Literal[3] = 3
    key: str
    suite: str
    suite_version: int
    suite_digest: str
    """SHA-256 of all in the suite that can move a score."""
    scenario: ScenarioRecord
    method: str
    settings: dict[str, Any]
    tuning: Tuning | None
    """Where the settings come from; None for defaults."""
    content: dict[str, str] = {}
    """Digests of files that decide the scores beside data, settings and code, such as pre-trained weights."""
    learns_from: tuple[str, ...] | None = None
    """The domains that the method looks at, where it says so."""
    seed: int
    budget: dict[str, int]
    data: dict[str, DomainRecord]
    leakage: LeakageRecord
    candidates: dict[str, CandidatesRecord]
    left_out: int
    """Users of the target who take no part in the test: too short a history, or nothing after the split's instant."""
    slices: dict[str, int]
    """Users in each slice."""
    validity: dict[str, dict[str, float]] | None = None
    """Of a method that writes its answers, by candidates: how many answers there were, and the shares of those with
    each fault. Such a user scores 0, and is never left out."""
    training: tuple[ArtefactRecord, ...]
    ranks_sha256: str
    code: Code
    packages: dict[str, str]
    provenance: Provenance
    cost: Cost

    @property
    def path(self) -> Path:
        """Where the result stands below a results folder."""
        return result_path(self.suite, self.suite_version, self.scenario.name, self.method, self.seed)

    def content_digest(self) -> str:
        """SHA-256 over all but `provenance` and `cost`: equal for two runs that came out the same."""
        # What the file does not hold is left out, so that fields that came later do not change it.
        return digest(self.model_dump(mode="json", exclude={"provenance", "cost"}, exclude_unset=True))


#: Columns of ranks that a table holds only where they say something.
_OPTIONAL = ("chance", "unscored")


class RankTable:
    """Per-user ranks for every candidate set, and the users' slices: all that metrics are computed from."""

    def __init__(self, ranks: dict[str, Ranks], slices: dict[str, np.ndarray[Any, np.dtype[np.bool_]]]) -> None:
        self.ranks = ranks
        self.slices = slices

    def metrics(self, candidates: str) -> dict[str, dict[str, float | None]]:
        """Slice -> metric -> mean over the slice's users."""
        values = per_user(self.ranks[candidates])
        return {
            name: {m: float(v[members].mean()) if members.any() else None for m, v in values.items()}
            for name, members in self.slices.items()
        }

    def to_parquet(self) -> bytes:
        """The table as a Parquet file: a row a user, in the order of the domain's users."""
        columns: dict[str, Any] = {f"slice/{name}": members for name, members in self.slices.items()}
        for candidates, ranks in self.ranks.items():
            for part in ("above", "tied", "candidates"):
                columns[f"{candidates}/{part}"] = getattr(ranks, part).astype(np.int32)
            for part in _OPTIONAL:
                if getattr(ranks, part) is not None:
                    columns[f"{candidates}/{part}"] = getattr(ranks, part)
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, path: Path) -> "RankTable":
        """Reads what `to_parquet` wrote."""
        table = pq.read_table(path)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        sets = dict.fromkeys(name.rpartition("/")[0] for name in columns if not name.startswith("slice/"))
        return cls(
            {
                name: Ranks(
                    above=columns[f"{name}/above"].astype(np.int64),
                    tied=columns[f"{name}/tied"].astype(np.int64),
                    candidates=columns[f"{name}/candidates"].astype(np.int64),
                    chance=columns.get(f"{name}/chance"),
                    unscored=columns.get(f"{name}/unscored"),
                )
                for name in sets
            },
            {n.removeprefix("slice/"): v for n, v in columns.items() if n.startswith("slice/")},
        )


def ranks_path(path: Path) -> Path:
    """The Parquet file of ranks that belongs to a result file."""
    return path.with_suffix(".parquet")


def write_result(result: RunResult, ranks: bytes, path: Path) -> None:
    """Writes a result and its ranks; the result comes last, so that it never stands without its ranks."""
    write_atomically(ranks_path(path), ranks)
    write_atomically(path, result.model_dump_json(indent=1) + "\n")


def read_result(path: Path) -> tuple[RunResult, RankTable]:
    """Reads one result and its ranks, and checks that they belong together.

    Raises:
        HarnessError: a file is missing, is no result, or the ranks are not the ones the result was made from.
    """
    mend = "Restore the file, or delete it and run the suite again."
    try:
        result = RunResult.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise HarnessError(f"No result file {path}.", "Run the suite, or restore the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise HarnessError(f"Corrupt result file {path}: {where}: {first['msg']}.", mend) from error
    table_path = ranks_path(path)
    if not table_path.is_file():
        raise HarnessError(f"No ranks file {table_path}, which {path.name} needs.", mend)
    if file_digest(table_path) != result.ranks_sha256:
        raise HarnessError(f"{table_path} is not the ranks file that {path.name} was made with.", mend)
    table = RankTable.from_parquet(table_path)
    for name, record in result.candidates.items():
        if record.metrics is not None and not _agree(record.metrics, table.metrics(name)):
            raise HarnessError(f"{path}: the metrics on {name} are not what {table_path.name} gives.", mend)
    return result, table


def _agree(a: dict[str, dict[str, float | None]], b: dict[str, dict[str, float | None]]) -> bool:
    # Summation order may differ between machines in the last bits.
    return a.keys() == b.keys() and all(
        a[s].keys() == b[s].keys()
        and all(
            (x is None) == (y is None) and abs((x or 0) - (y or 0)) < 1e-9
            for x, y in zip(a[s].values(), b[s].values(), strict=True)
        )
        for s in a
    )
