"""The result of one run: one method on one scenario with one seed. Plain data, validated on read."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.domain import Fingerprint
from harness.data.ties import TieAudit
from harness.errors import HarnessError
from harness.protocol.metrics import per_user
from harness.protocol.ranks import MISSED, Ranks
from harness.protocol.scenario import conditions, scenario_name
from harness.protocol.split import SPLITS
from harness.storage.files import digest, file_digest, write_atomically
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
    """SHA-256 over the code of the harness and of the method's packages; see `harness.storage.code_identity`."""


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

    schema_version: Literal[4] = 4
    key: str
    """The result's name in the store that it was made in."""
    suite: str
    suite_version: int
    scenario: ScenarioRecord
    method: str
    settings: dict[str, Any]
    tuning: Tuning | None
    """Where the settings come from; None for defaults."""
    content: dict[str, str] = {}
    """Digests of files that decide the scores beside data, settings and code, such as pre-trained weights."""
    learns_from: tuple[str, ...]
    """The domains that the method looks at, the target first."""
    reference: str | None
    """The method that this one is compared with: the same without source domains. None if it names none."""
    seed: int
    budget: dict[str, int]
    data: dict[str, DomainRecord]
    leakage: LeakageRecord
    candidates: dict[str, CandidatesRecord]
    candidate_seed: int
    least_recall: float
    """What an approximate index had to find of what an exact one finds."""
    left_out: int
    """Users of the target who take no part in the test: too short a history, or nothing after the split's instant."""
    slices: dict[str, int]
    """Users in each slice."""
    validity: dict[str, dict[str, float]] | None = None
    """Of a method that writes its answers, by candidates: how many answers there were, and the shares of those with
    each fault. Such a user scores 0, and is never left out."""
    training: tuple[ArtefactRecord, ...]
    ranks_sha256: str
    users_sha256: str
    """Digest of the users and held-out items that the rows of ranks are of; see `TestUsers`."""
    code: Code
    packages: dict[str, str]
    provenance: Provenance
    cost: Cost

    @property
    def path(self) -> Path:
        """Where the result stands below a results folder."""
        return result_path(self.suite, self.suite_version, self.scenario.name, self.method, self.seed)

    @property
    def conditions(self) -> dict[str, object]:
        """What it must have in common with other results of its scenario; see `harness.protocol.scenario`."""
        return conditions(
            data={name: record.fingerprint for name, record in self.data.items()},
            split=self.scenario.split.partition("/")[0],
            overlap=self.scenario.overlap,
            overlap_seed=self.scenario.overlap_seed,
            candidates=self.candidates,
            candidate_seed=self.candidate_seed,
            least_recall=self.least_recall,
            budget=self.budget,
        )

    def content_digest(self) -> str:
        """SHA-256 over all but `provenance` and `cost`: equal for two runs that came out the same."""
        # What the file does not hold is left out, so that fields that came later do not change it.
        return digest(self.model_dump(mode="json", exclude={"provenance", "cost"}, exclude_unset=True))


@dataclass(frozen=True)
class TestUsers:
    """The users of a scenario's test and the items held out, in the order of the rows of ranks.

    All results of a scenario share one file of them, `users.parquet`, which stands beside the results.

    Attributes:
        user_ids: ids of the data's own, each once.
        item_ids: of each user's held-out item.
    """

    __test__ = False  # no test, whatever pytest thinks of its name

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]

    def __len__(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over the ids, in order; not over the bytes of a file, which differ by its writer."""
        sha = Fingerprint()
        sha.strings(self.user_ids)
        sha.strings(self.item_ids)
        return sha.hexdigest("s")

    def to_parquet(self) -> bytes:
        """A Parquet file with the columns `user_id` and `item_id`."""
        return _parquet({"user_id": list(self.user_ids), "item_id": list(self.item_ids)})

    @classmethod
    def from_parquet(cls, path: Path) -> "TestUsers":
        """Reads what `to_parquet` wrote.

        Raises:
            HarnessError: the file is missing or is something else.
        """
        if not path.is_file():
            raise HarnessError(f"No file of users {path}, which the results beside it need.", _MEND)
        try:
            columns = pq.read_table(path, columns=["user_id", "item_id"])
            users, items = (tuple(map(str, columns[name].to_pylist())) for name in ("user_id", "item_id"))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise HarnessError(f"{path} is no file of users ({type(error).__name__}).", _MEND) from error
        if len(set(users)) < len(users):
            raise HarnessError(f"{path}: a user stands in it twice.", _MEND)
        return cls(users, items)


_MEND = "Restore the file, or delete it and run the suite again."

#: Columns of each candidate set, and those that are there only where they say something.
_PARTS = ("above", "tied", "candidates")
_OPTIONAL = ("chance", "unscored")
#: What a column of a candidate set holds, and of a slice.
_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    **dict.fromkeys(_PARTS, pa.types.is_integer),
    "chance": pa.types.is_floating,
    "unscored": pa.types.is_boolean,
}


class RankTable:
    """Per-user ranks for every candidate set, and the users' slices: all that metrics are computed from."""

    def __init__(
        self,
        ranks: dict[str, Ranks],
        slices: dict[str, np.ndarray[Any, np.dtype[np.bool_]]],
        users: TestUsers | None = None,
    ) -> None:
        self.ranks = ranks
        self.slices = slices
        self.users = users or TestUsers((), ())

    def metrics(self, candidates: str) -> dict[str, dict[str, float | None]]:
        """Slice -> metric -> mean over the slice's users."""
        values = per_user(self.ranks[candidates])
        return {
            name: {m: float(v[members].mean()) if members.any() else None for m, v in values.items()}
            for name, members in self.slices.items()
        }

    def of_users(self, users: TestUsers) -> "RankTable":
        """The same ranks with the rows in the order of `users`, who must be the same."""
        row = {user: index for index, user in enumerate(self.users.user_ids)}
        order = np.array([row[user] for user in users.user_ids], dtype=np.int64)
        ranks = {name: own.select(order) for name, own in self.ranks.items()}
        return RankTable(ranks, {name: members[order] for name, members in self.slices.items()}, users)

    def to_parquet(self) -> bytes:
        """The table as a Parquet file: a row a user, in the order of the domain's users."""
        columns: dict[str, Any] = {f"slice/{name}": members for name, members in self.slices.items()}
        for candidates, ranks in self.ranks.items():
            for part in _PARTS:
                columns[f"{candidates}/{part}"] = getattr(ranks, part).astype(np.int32)
            for part in _OPTIONAL:
                if getattr(ranks, part) is not None:
                    columns[f"{candidates}/{part}"] = getattr(ranks, part)
        return _parquet(columns)

    @classmethod
    def from_parquet(cls, path: Path, users: TestUsers | None = None) -> "RankTable":
        """Reads what `to_parquet` wrote.

        Args:
            path: of the file.
            users: of its rows.

        Raises:
            HarnessError: the file is something else, or its ranks cannot be.
        """
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise HarnessError(f"{path} is no table of ranks ({type(error).__name__}).", _MEND) from error
        for name in table.column_names:
            home, _, part = name.rpartition("/")
            fits = pa.types.is_boolean if home == "slice" else _KINDS.get(part)
            if not home or fits is None or not fits(table.schema.field(name).type) or table[name].null_count:
                raise HarnessError(f"{path}: column {name!r} is none of ranks or slices.", _MEND)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        sets = dict.fromkeys(name.rpartition("/")[0] for name in columns if not name.startswith("slice/"))
        lacking = [f"{s}/{part}" for s in sets for part in _PARTS if f"{s}/{part}" not in columns]
        if lacking or not columns.get("slice/all", np.zeros(1)).all():
            raise HarnessError(f"{path}: column {next(iter(lacking), 'slice/all')!r} is missing or not whole.", _MEND)
        ranks = {
            s: Ranks(
                *(columns[f"{s}/{part}"].astype(np.int64) for part in _PARTS),
                *(columns.get(f"{s}/{part}") for part in _OPTIONAL),
            )
            for s in sets
        }
        for name, own in ranks.items():
            if not _possible(own):
                raise HarnessError(f"{path}: {name} has a rank that cannot be.", _MEND)
        return cls(ranks, {n.removeprefix("slice/"): v for n, v in columns.items() if n.startswith("slice/")}, users)


def _possible(ranks: Ranks) -> bool:
    missed = ranks.above == MISSED
    among = (ranks.above >= 0) & (ranks.tied >= 0) & (ranks.above + ranks.tied < ranks.candidates)
    chance = np.ones(1) if ranks.chance is None else ranks.chance
    if not ((chance > 0) & (chance <= 1)).all():
        return False
    return bool(np.where(missed, (ranks.tied == 0) & (ranks.candidates >= 0), among).all())


def _parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def ranks_path(path: Path) -> Path:
    """The Parquet file of ranks that belongs to a result file."""
    return path.with_suffix(".parquet")


def users_path(path: Path) -> Path:
    """The Parquet file of users and held-out items that belongs to a result file, and to all others of its scenario."""
    return path.with_name("users.parquet")


def write_result(result: RunResult, ranks: bytes, users: bytes, path: Path) -> None:
    """Writes a result with its users and ranks; the result comes last, so that it never stands without them.

    A file of the same users is left as it is.
    """
    beside = users_path(path)
    if not beside.is_file() or not _holds(beside, result.users_sha256):
        write_atomically(beside, users)
    write_atomically(ranks_path(path), ranks)
    write_atomically(path, result.model_dump_json(indent=1) + "\n")


def _holds(path: Path, digest: str) -> bool:
    try:
        return TestUsers.from_parquet(path).digest == digest
    except HarnessError:
        return False


def read_record(path: Path) -> RunResult:
    """Reads one result, without its ranks.

    Raises:
        HarnessError: the file is missing, or is no result.
    """
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise HarnessError(f"No result file {path}.", "Run the suite, or restore the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",) or _schema(path) not in (None, 4):
            raise HarnessError(
                f"{path} is a result of schema version {_schema(path)}, not 4.",
                "Carry it over with scripts/carry_over.py, or delete it and run the suite again.",
            ) from error
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise HarnessError(f"Corrupt result file {path}: {where}: {first['msg']}.", _MEND) from error


def _schema(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())["schema_version"]
    except (ValueError, KeyError, TypeError):
        return None


def read_result(
    path: Path, read_users: Callable[[Path], TestUsers] = TestUsers.from_parquet
) -> tuple[RunResult, RankTable]:
    """Reads one result and its ranks, and checks that they belong together.

    Args:
        path: of the result.
        read_users: reads the file of users; for many results of one scenario, one that reads it once.

    Raises:
        HarnessError: a file is missing, is no result, or the ranks are not the ones the result was made from.
    """
    result = read_record(path)
    table_path, beside = ranks_path(path), users_path(path)
    if not table_path.is_file():
        raise HarnessError(f"No ranks file {table_path}, which {path.name} needs.", _MEND)
    if file_digest(table_path) != result.ranks_sha256:
        raise HarnessError(f"{table_path} is not the ranks file that {path.name} was made with.", _MEND)
    users = read_users(beside)
    if users.digest != result.users_sha256:
        raise HarnessError(f"{beside} is not of the users that {path.name} was made with.", _MEND)
    table = RankTable.from_parquet(table_path, users)
    wrong = _contradiction(result, table)
    if wrong:
        raise HarnessError(f"Corrupt result file {path}: {wrong}.", _MEND)
    for name, record in result.candidates.items():
        if record.metrics is not None and not _agree(record.metrics, table.metrics(name)):
            raise HarnessError(f"{path}: the metrics on {name} are not what {table_path.name} gives.", _MEND)
    return result, table


_SPLIT = re.compile(
    rf"({'|'.join(sorted(set(SPLITS) - {'temporal'}, key=len, reverse=True))})|temporal(/\d{{1,11}}(\.\d{{1,9}})?){{2}}"
)


def _contradiction(result: RunResult, table: RankTable) -> str | None:
    """What in a result contradicts itself or its ranks, in words; None if nothing does."""
    scenario, target = result.scenario, result.data.get(result.scenario.target)
    domains = {scenario.target, *scenario.sources}
    rows = {len(members) for members in table.slices.values()}
    split = scenario.split.partition("/")[0]
    if not _SPLIT.fullmatch(scenario.split):
        return f"scenario.split: no split is called {scenario.split!r}"
    if scenario.name != scenario_name(scenario.target, scenario.sources, split, scenario.overlap):
        return f"scenario: {scenario.name!r} has not this target, these sources, this split and this overlap"
    if target is None or set(result.data) != domains or set(scenario.k_core) != domains:
        return "data: not the domains of the scenario"
    if not set(result.learns_from) <= domains:
        return "learns_from: not the domains of the scenario"
    if rows != {len(table.users)}:
        return f"{len(table.users)} users, but {max(rows)} rows of ranks"
    if result.slices != {name: int(members.sum()) for name, members in table.slices.items()}:
        return "slices: not those of the ranks"
    if result.left_out != target.users - len(table.users):
        return "left_out: not what is left of the target's users"
    if {name for name, record in result.candidates.items() if record.metrics is not None} != set(table.ranks):
        return "candidates: not those of the ranks"
    if not {"trials", "epochs", "patience"} <= set(result.budget):
        return "budget: something is missing"
    return None


def difference(there: object, expected: object) -> str:
    """How one of a result's conditions differs from what is expected, in a few words."""
    if isinstance(there, dict) and isinstance(expected, dict):
        name = next(name for name in (*there, *expected) if there.get(name) != expected.get(name))
        return f"{name}: {difference(there.get(name), expected.get(name))}"
    if isinstance(there, list) and isinstance(expected, list):
        there, expected = ([part for part in a if part not in b] for a, b in ((there, expected), (expected, there)))
    return f"{_short(there)} instead of {_short(expected)}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else str(value)


def _agree(a: dict[str, dict[str, float | None]], b: dict[str, dict[str, float | None]]) -> bool:
    """Whether metrics that are in both are equal: a result may be older or newer than a metric or a cutoff."""
    # Summation order may differ between machines in the last bits.
    return a.keys() == b.keys() and all(
        (x is None) == (y is None) and abs((x or 0) - (y or 0)) < 1e-9
        for members in a
        for x, y in ((a[members][name], b[members][name]) for name in a[members].keys() & b[members].keys())
    )
