"""The two sides of a comparison: methods of a suite, single trainings of them, or result files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.report.collect import Board, Entry, check_slices, collect, shared_conditions
from harness.report.folders import NoResultsError, boards_in
from harness.results.check import difference
from harness.results.files import read_result, result_path_of
from harness.suites import load_suite


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: its name in the report.
        entries: by scenario, with the seeds that both sides have; rows are of the same users on both sides.
    """

    label: str
    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class Sides:
    """Two sides that can be compared user by user.

    Attributes:
        a: the first.
        b: the second; it has the scenarios of the first.
        of: what the results are of, such as `cdsr/v1`.
        single: whether one training of each is compared, whatever its seed.
        board: all results of the suite; None for two files.
        notes: what a reader should know, in sentences.
    """

    a: Side
    b: Side
    of: str
    single: bool
    board: Board | None = None
    notes: tuple[str, ...] = ()

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names of the scenarios that both sides have results of."""
        return tuple(self.a.entries)


@dataclass(frozen=True)
class _Operand:
    """An argument of the command: a file, or a method with or without a seed."""

    text: str
    method: str
    seed: int | None
    file: Entry | None = None

    @property
    def of(self) -> str:
        """The suite and version of a file."""
        assert self.file is not None  # noqa: S101 - asked of files only
        first = self.file.results[0]
        return f"{first.suite}/v{first.suite_version}"


def find_sides(a: str, b: str, results: Path, suite: str | None = None, scenarios: Sequence[str] = ()) -> Sides:
    """Find two sides by what a user wrote.

    Args:
        a: a method of the suite, `method@seed`, or the path of a result file.
        b: likewise.
        results: the folder of results.
        suite: a name (its newest version with results), `name/v1`, or the path of a suite file. None: that of a file.
        scenarios: only these. Empty: all that both have results of.

    Raises:
        HarnessError: something is not known, or the two cannot be compared.
    """
    left, right = _operand(a), _operand(b)
    if (left.seed is None) != (right.seed is None):
        one, all_seeds = (left, right) if right.seed is None else (right, left)
        raise HarnessError(
            f"{one.text} is one training, and {all_seeds.text} is all seeds.",
            f"Name a seed of both, as in {all_seeds.text}@{one.seed}, or of neither.",
        )
    if left.file and right.file:
        return _two_files(left, right, left.file, right.file, scenarios)
    file = left if left.file else right
    board = read_board(results, suite or (file.of if file.file else None))
    of = f"{board.suite}/v{board.version}"
    if file.file and file.of != of:
        raise HarnessError(f"{file.text} is a result of {file.of}, not of {of}.", "Name two files, or one suite.")
    labels = [each.method if each.seed is None else f"{each.method}@{each.seed}" for each in (left, right)]
    found = [_entries(each, board) for each in (left, right)]
    if labels[0] == labels[1]:
        raise HarnessError(f"Both sides are {labels[0]}.", "Name two methods, or two seeds: weaverec@0 weaverec@1.")
    names, missing = _common_scenarios(board, found, labels, scenarios)
    single = left.seed is not None
    pairs, notes = _aligned([(found[0][name], found[1][name]) for name in names], labels, single)
    notes = (*([f"Not compared, as a side has no result: {', '.join(missing)}."] if missing else []), *notes)
    return Sides(*_each_side(labels, names, pairs), of, single, board, notes)


def _each_side(
    labels: Sequence[str], scenarios: Sequence[str], pairs: Sequence[tuple[Entry, Entry]]
) -> tuple[Side, Side]:
    a, b = ({name: pair[i] for name, pair in zip(scenarios, pairs, strict=True)} for i in (0, 1))
    return Side(labels[0], a), Side(labels[1], b)


def _common_scenarios(
    board: Board, found: Sequence[Mapping[str, Entry]], labels: Sequence[str], asked: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The scenarios that are compared, and those where a side has no result.

    Raises:
        HarnessError: there are none, or one that was asked for is not among them.
    """
    of = f"{board.suite}/v{board.version}"
    for name in asked:
        if name not in board.scenarios:
            raise HarnessError.unknown(f"scenario with results of {of}", name, board.scenarios)
    wanted = [name for name in board.scenarios if not asked or name in asked]
    common = [name for name in wanted if all(name in entries for entries in found)]
    missing = [name for name in wanted if name not in common]
    if not common or (asked and missing):
        absent = next(label for label, of in zip(labels, found, strict=True) if missing[0] not in of)
        raise HarnessError(
            f"{absent} has no result on {missing[0]} of {of}.",
            f"Run: harness run --suite {of} --method {absent.partition('@')[0]} --scenario {missing[0]}.",
        )
    return common, missing


def read_board(results: Path, suite: str | None) -> Board:
    """The results of a suite.

    Args:
        results: the folder of results.
        suite: a name (its newest version with results), `name/v1`, or the path of a suite file.

    Raises:
        HarnessError: there is no such suite, or it has no results.
    """
    boards = boards_in(results)
    if not boards:
        raise NoResultsError(f"No results in {results}.", "Run: harness run --suite cdsr, or name two result files.")
    names = sorted({name for name, _ in boards})
    if suite is None:
        raise HarnessError("No suite is named.", f"Add --suite {' or --suite '.join(names)}.")
    if Path(suite).suffix in (".yaml", ".yml"):
        suite = load_suite(suite).id
    name, _, version = suite.partition("/")
    versions = [number for other, number in boards if other == name]
    if not versions:
        raise HarnessError.unknown("suite with results", name, names)
    if version and version not in {f"v{number}" for number in versions}:
        raise HarnessError.unknown(f"version with results of suite {name}", version, [f"v{n}" for n in versions])
    return collect(results, name, int(version[1:]) if version else versions[-1])


def _operand(text: str) -> _Operand:
    path = Path(text)
    if path.suffix == ".parquet":
        raise HarnessError(f"{path} is not a result file.", f"Name {result_path_of(path) or 'a .json file beside it'}.")
    if path.suffix == ".json":
        result, table = read_result(path)
        return _Operand(text, result.method, result.seed, Entry(result.method, (result,), (table,), (path,)))
    method, at, seed = text.rpartition("@")
    if at and not seed.isdecimal():
        raise HarnessError(f"{text!r} has no number after the @.", "Write it as in weaverec@0.")
    return _Operand(text, method if at else text, int(seed) if at else None)


def _entries(operand: _Operand, board: Board) -> dict[str, Entry]:
    """The results of a method or a file, by scenario."""
    if operand.file:
        return {operand.file.results[0].scenario.name: operand.file}
    entries = {name: entry for name, of in board.scenarios.items() for entry in of if entry.method == operand.method}
    if not entries:
        known = {entry.method for entry in board.entries}
        raise HarnessError.unknown(f"method with results of {board.suite}/v{board.version}", operand.method, known)
    if operand.seed is None:
        return entries
    kept = {name: with_seeds(entry, [operand.seed]) for name, entry in entries.items()}
    seeds = sorted({result.seed for entry in entries.values() for result in entry.results})
    if operand.seed not in seeds:
        known_seeds = ", ".join(map(str, seeds))
        raise HarnessError(f"{operand.method} has no result with seed {operand.seed}.", f"Seeds: {known_seeds}.")
    return {name: entry for name, entry in kept.items() if entry.results}


def with_seeds(entry: Entry, seeds: Collection[int]) -> Entry:
    """An entry with only some of its seeds."""
    kept = [index for index, result in enumerate(entry.results) if result.seed in seeds]
    return replace(
        entry,
        results=tuple(entry.results[index] for index in kept),
        tables=tuple(entry.tables[index] for index in kept),
        paths=tuple(entry.paths[index] for index in kept),
    )


def _two_files(left: _Operand, right: _Operand, a: Entry, b: Entry, scenarios: Sequence[str]) -> Sides:
    """Two result files, whatever their suites and scenarios, if they are of the same users."""
    names = list(dict.fromkeys(entry.results[0].scenario.name for entry in (a, b)))
    for name in scenarios:
        if name not in names:
            raise HarnessError.unknown("scenario of these files", name, names)
    labels = next((pair for pair in _file_labels(left, right) if pair[0] != pair[1]), None)
    if labels is None:
        raise HarnessError(f"Both sides are {left.text}.", "Name two result files.")
    pairs, notes = _aligned([(a, b)], labels, single=True)
    of = " and ".join(dict.fromkeys((left.of, right.of)))
    return Sides(*_each_side(labels, [" and ".join(names)], pairs), of, True, None, notes)


def _file_labels(left: _Operand, right: _Operand) -> list[tuple[str, str]]:
    """Labels of two files, from short to long."""
    files = (left, right)
    short = [f"{each.method}@{each.seed}" for each in files]
    with_suite = [f"{label} of {each.of}" for label, each in zip(short, files, strict=True)]
    paths = [str(Path(each.text)) for each in files]
    return [(pair[0], pair[1]) for pair in (short, with_suite, paths)]


def _aligned(
    pairs: Sequence[tuple[Entry, Entry]], labels: Sequence[str], single: bool
) -> tuple[list[tuple[Entry, Entry]], tuple[str, ...]]:
    """Entries with the same users in the same order and the same seeds, and notes on what else differs.

    Args:
        pairs: an entry of each side, for each scenario.
        labels: of the sides.
        single: whether one training of each is compared, whatever its seed.

    Raises:
        HarnessError: the users or their held-out items differ, or no seed is common.
    """
    aligned, notes = [], []
    for a, b in pairs:
        if not single:
            common = {result.seed for result in a.results} & {result.seed for result in b.results}
            if not common:
                raise HarnessError(
                    f"{labels[0]} and {labels[1]} have no seed in common on {a.results[0].scenario.name}.",
                    f"Run both with the same seeds, or compare a training of each, as in "
                    f"{labels[0]}@{a.results[0].seed} {labels[1]}@{b.results[0].seed}.",
                )
            a, b = with_seeds(a, common), with_seeds(b, common)
        b = _with_users_of(a, b, labels)
        check_slices(Path(labels[1]), b.tables[0], Path(labels[0]), a.tables[0])
        theirs = shared_conditions(b.results[0])
        notes += [
            f"{labels[0]} and {labels[1]} were made with different {aspect}: {difference(value, theirs[aspect])}."
            for aspect, value in shared_conditions(a.results[0]).items()
            if value != theirs[aspect]
        ]
        aligned.append((a, b))
    return aligned, tuple(dict.fromkeys(notes))


def _with_users_of(a: Entry, b: Entry, labels: Sequence[str]) -> Entry:
    """The second entry with the rows of its tables in the order of the first.

    Raises:
        HarnessError: they are not of the same users, or of other held-out items.
    """
    users, others = a.tables[0].users, b.tables[0].users
    if users == others:
        return b
    common = set(users.user_ids) & set(others.user_ids)
    counts = f"{len(users):,} and {len(others):,}, {len(common):,} of them the same"
    if len(common) < max(len(users), len(others)):
        raise HarnessError(
            f"{labels[0]} and {labels[1]} were tested on different users ({counts}).",
            "Compare results of the same data and split.",
        )
    tables = tuple(table.reordered(users) for table in b.tables)
    held_out = dict(zip(others.user_ids, others.item_ids, strict=True))
    differing = sum(held_out[u] != item for u, item in zip(users.user_ids, users.item_ids, strict=True))
    if differing:
        raise HarnessError(
            f"{labels[0]} and {labels[1]} have different held-out items for {differing:,} of {len(users):,} users.",
            "Compare results of the same data and split.",
        )
    return replace(b, tables=tables)
