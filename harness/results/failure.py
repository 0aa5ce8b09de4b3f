"""The record of a run that failed or was skipped: it stands where its result would, until a run succeeds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HarnessError
from harness.results.record import result_path
from harness.storage.files import write_atomically

_SUFFIX = ".failed.json"


class FailureRecord(BaseModel):
    """A run that came to nothing. The next command tries it again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    suite: str
    suite_version: int
    scenario: str
    method: str
    seed: int
    status: Literal["failed", "skipped"] = "failed"
    """Skipped is what could not be tried: the method needs what the machine or the data lack."""
    cause: str
    """One line."""
    created: str
    """UTC, ISO 8601."""

    @property
    def path(self) -> Path:
        """Where the record stands below a results folder."""
        return failure_path(result_path(self.suite, self.suite_version, self.scenario, self.method, self.seed))


def failure_path(result: Path) -> Path:
    """Where the failure of a run is recorded, beside the place of its result."""
    return result.with_suffix(_SUFFIX)


def is_failure(path: Path) -> bool:
    """Whether a file's name is that of a failure's record, not of a result."""
    return path.name.endswith(_SUFFIX)


def write_failure(record: FailureRecord, results: Path) -> None:
    """Writes a record below a results folder."""
    write_atomically(results / record.path, record.model_dump_json(indent=1) + "\n")


def read_failure(path: Path) -> FailureRecord:
    """Reads a record.

    Raises:
        HarnessError: the file cannot be read or is no such record.
    """
    try:
        return FailureRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise HarnessError(f"Corrupt record of a failed run {path}.", "Delete it and run the suite again.") from error
