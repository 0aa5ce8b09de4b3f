"""The record of a run that was made again, `reproduced/<suite>/v<version>/<scenario>/<method>-seed<k>.json`.

Records have a folder of their own beside that of results, so that a submission cannot bring its own.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError
from harness.results.record import Code, Provenance, RunResult
from harness.results.submission import output_dir_of
from harness.storage.files import write_atomically

#: The folder of records, beside that of results.
REPRODUCED = "reproduced"
#: Largest difference in a metric that a badge allows; the boards print four decimals.
LARGEST_TOLERANCE = 0.001

Verdict = Literal["equal", "within tolerance", "different"]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class RanksMatch(_Record):
    """How the ranks among one candidate set compare."""

    equal_users: _Share
    """Share of users with an equal rank, ties included."""
    largest_rank_difference: float | None
    """Of the expected ranks, over users who have one both times; None if there is none."""
    largest_metric_difference: float
    """Of the recorded metrics over all test users."""
    largest_slice_difference: float
    """Of the recorded metrics over any slice."""


class ListsMatch(_Record):
    """How the recommendation lists compare."""

    equal_users: _Share
    """Share of users with an equal list."""
    common_items: _Share
    """Share of the listed items that the user's other list holds, at any place."""


class ArtefactMatch(_Record):
    """How one training compares."""

    label: str
    """What was trained, on what, with which seed."""
    trained: bool
    """Whether it was trained again, and not taken from a cache."""
    same_key: bool
    """Whether all that decides the training was equal: inputs, code and package versions."""
    same_steps: bool
    """Whether it made as many steps and kept the weights of the same one."""
    largest_validation_difference: float | None
    """Of NDCG@10 on validation; None if the numbers of validations differ."""


class Reproduction(_Record):
    """What matched when a run was made again, and what differed."""

    schema_version: Literal[1] = 1
    """Version of this form."""
    suite: str
    """Name of the suite."""
    suite_version: int
    """Version of the suite."""
    scenario: str
    """Name of the scenario."""
    method: str
    """The method's name in the result."""
    seed: int
    """Of the run."""
    result_digest: str
    """SHA-256 of the content of the result that was made again."""
    verdict: Verdict
    """By ranks and metrics over all test users, and by the data."""
    tolerance: float
    """Of metrics over all test users."""
    ranks: dict[str, RanksMatch]
    """By candidate set."""
    lists: ListsMatch | None
    """None if one of the two results keeps none."""
    artefacts: tuple[ArtefactMatch, ...]
    """One for each training."""
    same_data: bool
    """Whether the fingerprints of all domains, the test users and the held-out items are equal."""
    differences: dict[str, str]
    """What differs in versions, machine, arithmetic, code or settings, in words."""
    code: Code
    """Digests of the code that made the run again."""
    provenance: Provenance
    """When, with which commit and on which machine it was made again."""

    @model_validator(mode="after")
    def _check_verdict(self) -> Self:
        if self.verdict != verdict_of(self.ranks, self.same_data, self.tolerance):
            raise ValueError(f"verdict: {self.verdict!r} is not what the figures say")
        return self

    @property
    def path(self) -> Path:
        """The path of the record below the folder of records."""
        return Path(self.suite, f"v{self.suite_version}", self.scenario, f"{self.method}-seed{self.seed}.json")

    def confirms(self, result: RunResult) -> bool:
        """Whether the run was made again from nothing, on the same data, and gave this result.

        A run with trainings from a cache was scored again, not made again.
        """
        return (
            self.result_digest == result.content_digest()
            and self.verdict != "different"
            and self.tolerance <= LARGEST_TOLERANCE
            and all(artefact.trained for artefact in self.artefacts)
        )


def verdict_of(ranks: dict[str, RanksMatch], same_data: bool, tolerance: float) -> Verdict:
    """Whether a run gave the same result."""
    if not ranks or not same_data or any(match.largest_metric_difference > tolerance for match in ranks.values()):
        return "different"
    return "equal" if all(match.equal_users == 1 for match in ranks.values()) else "within tolerance"


def write_reproduction(record: Reproduction, output_dir: Path) -> Path:
    """Write a record into an output folder; give its path."""
    path = output_dir / REPRODUCED / record.path
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
    return path


def read_reproduction(path: Path, result: RunResult) -> Reproduction | None:
    """The record of a result; None if its run was not made again.

    Args:
        path: of the result, in an output folder.
        result: the result.

    Raises:
        HarnessError: the record is not valid.
    """
    output_dir = output_dir_of(path, result)
    path = output_dir / REPRODUCED / result.path if output_dir else path
    if output_dir is None or not path.is_file():
        return None
    try:
        return Reproduction.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}" if first else str(error)
        raise HarnessError(f"{path}: {reason}.", "Delete it, or run: harness reproduce --record.") from error
