"""The record of a run that failed or was skipped, written in place of its result until a run succeeds."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import HarnessError
from harness.results.record import result_path
from harness.storage.files import write_atomically

_SUFFIX = ".failed.json"


class FailureRecord(BaseModel):
    """A run without a result. The next command tries it again."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    """Version of this form."""
    suite: str
    """Name of the suite."""
    suite_version: int
    """Version of the suite."""
    scenario: str
    """Name of the scenario."""
    method: str
    """Name of the method, or of a suite's variant."""
    seed: int
    """Seed of the run."""
    status: Literal["failed", "skipped"] = "failed"
    """`skipped` if the run could not be tried: the machine or the data lack what the method needs."""
    cause: str
    """The reason, in one line."""
    created: str
    """Time in UTC, ISO 8601."""

    @property
    def path(self) -> Path:
        """The path of the record below a results folder."""
        return failure_path(result_path(self.suite, self.suite_version, self.scenario, self.method, self.seed))


def failure_path(result: Path) -> Path:
    """The path of a run's failure record, given the path of its result."""
    return result.with_suffix(_SUFFIX)


def is_failure(path: Path) -> bool:
    """Whether a file is a failure record and not a result, by its name."""
    return path.name.endswith(_SUFFIX)


def write_failure(record: FailureRecord, results: Path) -> None:
    """Writes a record below a results folder."""
    write_atomically(results / record.path, record.model_dump_json(indent=1) + "\n")


def read_failure(path: Path) -> FailureRecord:
    """Reads a record.

    Raises:
        HarnessError: the file cannot be read or is not a failure record.
    """
    try:
        return FailureRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise HarnessError(f"Corrupt record of a failed run {path}.", "Delete it and run the suite again.") from error
