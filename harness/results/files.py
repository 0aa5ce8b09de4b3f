"""The files of results: where they are, and reading and writing them.

A result `<method>-seed<k>.json` has its ranks in `<method>-seed<k>.parquet` and, if the run kept them, its
recommendation lists in `<method>-seed<k>.lists.parquet`. All results of a scenario share `users.parquet` and
`items.parquet`.
"""

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.protocol.recommendations import Recommendations
from harness.results.check import contradiction, metric_difference
from harness.results.lists_table import lists_from_parquet
from harness.results.parquet import RESTORE
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.users import CatalogueItems, TestUsers
from harness.storage.files import file_digest, write_atomically

#: The files that a run leaves in the store beside `result.json`; the lists and their catalogue are optional.
RANKS, USERS, LISTS, ITEMS = "ranks.parquet", "users.parquet", "lists.parquet", "items.parquet"
_LISTS_SUFFIX = ".lists.parquet"


def ranks_path(path: Path) -> Path:
    """The file of ranks that belongs to a result file."""
    return path.with_suffix(".parquet")


def lists_path(path: Path) -> Path:
    """The file of recommendation lists that belongs to a result file."""
    return path.with_suffix(_LISTS_SUFFIX)


def users_path(path: Path) -> Path:
    """The file of users and held-out items that all results of a scenario share."""
    return path.with_name(USERS)


def items_path(path: Path) -> Path:
    """The file of catalogue items that all results of a scenario share."""
    return path.with_name(ITEMS)


def result_path_of(parquet: Path) -> Path | None:
    """The result file that a Parquet file belongs to; None for the files that results share."""
    if parquet.name in (USERS, ITEMS):
        return None
    stem = parquet.name.removesuffix(_LISTS_SUFFIX) if parquet.name.endswith(_LISTS_SUFFIX) else parquet.stem
    return parquet.with_name(f"{stem}.json")


def publish_result(folder: Path, results: Path) -> RunResult:
    """Copies a run's files from its folder in the store to a results folder, unless the same are there.

    The result is written last, so that it never stands without its ranks.

    Raises:
        HarnessError: the stored result is corrupt, or the results folder cannot be written to.
    """
    raw = (folder / "result.json").read_bytes()
    try:
        result = RunResult.model_validate_json(raw)
    except ValidationError as error:
        raise HarnessError(
            f"Corrupt cached result {folder}.", "Delete that folder and run the command again."
        ) from error
    path = results / result.path
    _write_shared(users_path(path), (folder / USERS).read_bytes(), result.users_sha256)
    if result.items_sha256 is not None:
        _write_shared(items_path(path), (folder / ITEMS).read_bytes(), result.items_sha256)
    _write_if_other(ranks_path(path), (folder / RANKS).read_bytes())
    if result.lists_sha256 is not None:
        _write_if_other(lists_path(path), (folder / LISTS).read_bytes())
    else:
        lists_path(path).unlink(missing_ok=True)
    _write_if_other(path, raw)
    return result


def _write_if_other(path: Path, content: bytes) -> None:
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


def _write_shared(path: Path, content: bytes, digest: str) -> None:
    """Leaves a file of the same content as it is, whoever wrote it."""
    if path.is_file() and path.read_bytes() == content:
        return
    reader = TestUsers if path.name == USERS else CatalogueItems
    try:
        same = reader.from_parquet(path).digest == digest
    except HarnessError:
        same = False
    if not same:
        write_atomically(path, content)


def read_record(path: Path) -> RunResult:
    """Reads one result, without its ranks.

    Raises:
        HarnessError: the file is missing or is not a result.
    """
    try:
        return RunResult.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise HarnessError(f"No result file {path}.", "Run the suite, or restore the file.") from error
    except ValidationError as error:
        version = _schema_version(path)
        if version not in (None, 4):
            raise HarnessError(
                f"{path} is a result of schema version {version}, not 4.", "Delete it and run the suite again."
            ) from error
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise HarnessError(f"Corrupt result file {path}: {field}: {first['msg']}.", RESTORE) from error


def _schema_version(path: Path) -> object:
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
        read_users: reads the file of users; pass a cached one to read many results of a scenario.

    Raises:
        HarnessError: a file is missing or is not a result, or the ranks are not those of the result.
    """
    result = read_record(path)
    table_path, shared = ranks_path(path), users_path(path)
    if not table_path.is_file():
        raise HarnessError(f"No ranks file {table_path}, which {path.name} needs.", RESTORE)
    if file_digest(table_path) != result.ranks_sha256:
        raise HarnessError(f"{table_path} is not the ranks file that {path.name} was made with.", RESTORE)
    users = read_users(shared)
    if users.digest != result.users_sha256:
        raise HarnessError(f"{shared} does not hold the users that {path.name} was made with.", RESTORE)
    table = RankTable.from_parquet(table_path, users)
    wrong = contradiction(result, table)
    if wrong:
        raise HarnessError(f"Corrupt result file {path}: {wrong}.", RESTORE)
    for name, record in result.candidates.items():
        differs = None if record.metrics is None else metric_difference(record.metrics, table.approximate_metrics(name))
        if differs:
            raise HarnessError(
                f"{path}: the metrics on {name} are not what {table_path.name} gives ({differs}).", RESTORE
            )
    return result, table


def read_recommendations(
    path: Path,
    result: RunResult,
    users: TestUsers,
    read_items: Callable[[Path], CatalogueItems] = CatalogueItems.from_parquet,
) -> Recommendations | None:
    """The recommendation lists of a result; None if the run kept none.

    Args:
        path: of the result file.
        result: its content.
        users: of the rows.
        read_items: reads the file of the catalogue; pass a cached one to read many results of a scenario.

    Raises:
        HarnessError: a file is missing, or is not the one that the result was made with.
    """
    if result.lists_sha256 is None:
        return None
    lists, shared = lists_path(path), items_path(path)
    if not lists.is_file():
        raise HarnessError(f"No file of recommendation lists {lists}, which {path.name} needs.", RESTORE)
    if file_digest(lists) != result.lists_sha256:
        raise HarnessError(f"{lists} is not the file of lists that {path.name} was made with.", RESTORE)
    catalogue = read_items(shared)
    if catalogue.digest != result.items_sha256:
        raise HarnessError(f"{shared} does not hold the catalogue that {path.name} was made with.", RESTORE)
    items = lists_from_parquet(lists, catalogue, len(users))
    return Recommendations(items, catalogue.training_interactions, users.user_ids)
