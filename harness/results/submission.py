"""A submission: a folder with results of one method on one suite, a card that describes it, and a manifest.

leaderboards/submissions/cdsr/v2/my-model/
  submission.json                     the manifest: `Submission`
  card.yaml                           `Card`
  drama-from-action/                  a folder for each scenario, with the files of a results folder
    my-model-seed0.json, my-model-seed0.parquet, my-model-seed0.lists.parquet, users.parquet, items.parquet
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError
from harness.results.record import Code, RunResult, result_path
from harness.storage.yaml_file import read_yaml

#: The folder of submissions, beside that of results; and the files of a submission that are of no scenario.
SUBMISSIONS, MANIFEST, CARD = "submissions", "submission.json", "card.yaml"

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=80)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: One line that is shown as it is.
_Line = Annotated[str, Field(pattern=r"^\S(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\S)?$", max_length=300)]
#: Without what could end a link in markdown or HTML.
_Link = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9][\w.~:/?#@!$&*+,;=%-]*$", max_length=300)]


class _File(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Card(_File):
    """Who submits what: `card.yaml`."""

    schema_version: Literal[1] = 1
    """Version of this form."""
    method: _Name
    """The method's name in its results."""
    title: _Line
    """What it is, in one line."""
    authors: Annotated[list[_Line], Field(min_length=1, max_length=100)]
    """Who submits it."""
    contact: _Line
    """Where questions go: an address or a link."""
    code: _Link | None = None
    """Link to the code; None if it is not public."""
    paper: _Link | None = None
    """Link to the paper."""
    licence: _Line
    """Under which the code is, such as `MIT`; `none` if it is not public."""
    trained_on: Annotated[list[_Name], Field(min_length=1)]
    """Domains of the suite that the method learns from."""
    other_data: _Line
    """All other data that it was trained on, those of pre-trained weights among them; `none` if there are none."""
    used_test_events: Literal[False]
    """Whether test events were used to train, to tune or to choose what is submitted. Such rows are refused."""
    verified_by_authors: _Link | None = None
    """Where the method's authors say that this row shows their method as they mean it; None if they did not."""


class FileRecord(_File):
    """A file of a submission."""

    path: Annotated[str, Field(max_length=300)]
    """Relative to the folder, with `/`."""
    bytes: Annotated[int, Field(ge=0)]
    """Its size."""
    sha256: _Sha256
    """Of its content, in hexadecimal digits."""


class Environment(_File):
    """What some of the results were made with."""

    code: Code
    """Digests of the code."""
    packages: dict[str, str]
    """Versions of packages, by name."""
    device: str
    """`cpu` or `cuda`."""
    hardware: dict[str, str]
    """Processor, memory, GPU, system and Python."""

    @classmethod
    def of(cls, result: RunResult) -> Self:
        """The environment of a result."""
        made = result.provenance
        return cls(code=result.code, packages=result.packages, device=made.device, hardware=made.hardware)


class Submission(_File):
    """The manifest of a submission: `submission.json`."""

    schema_version: Literal[1] = 1
    """Version of this form."""
    suite: _Name
    """Name of the suite."""
    suite_version: Annotated[int, Field(ge=1)]
    """Version of the suite."""
    suite_fingerprint: _Sha256
    """SHA-256 of all in the suite that can change a score; see `harness.run.submission.suite_fingerprint`."""
    method: _Name
    """The method's name in its results."""
    environments: Annotated[list[Environment], Field(min_length=1)]
    """What the results were made with, each once."""
    files: Annotated[list[FileRecord], Field(min_length=1)]
    """All files but this one, by path."""

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        paths = [file.path for file in self.files]
        twice = next((path for path in paths if paths.count(path) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is listed twice")
        return self

    @property
    def id(self) -> str:
        """The suite's name and version, such as `cdsr/v2`."""
        return f"{self.suite}/v{self.suite_version}"


def submission_folder(output_dir: Path, suite: str, version: int, method: str) -> Path:
    """The folder of a submission in an output folder."""
    return output_dir / SUBMISSIONS / suite / f"v{version}" / method


def path_in_submission(result: RunResult) -> Path:
    """The path of a result file in the folder of its submission."""
    return Path(result.scenario.name, result.path.name)


def output_dir_of(path: Path, result: RunResult) -> Path | None:
    """The output folder that a result file is in, be it among the results or the submissions; None if in neither."""
    own = Path("results", result.path)
    folder = submission_folder(Path(), result.suite, result.suite_version, result.method)
    for place in (own, folder / path_in_submission(result)):
        if path.absolute().parts[-len(place.parts) :] == place.parts:
            return path.absolute().parents[len(place.parts) - 1]
    return None


def submitted_results(results: Path, suite: str, version: int) -> list[Path]:
    """The result files of accepted submissions, without those that stand in the results folder too.

    Args:
        results: the results folder.
        suite: name of the suite.
        version: its version.
    """
    home = results.parent / SUBMISSIONS / suite / f"v{version}"
    own = results / result_path(suite, version, "", "", 0).parent
    return sorted(path for path in home.glob("*/*/*.json") if not (own / path.parent.name / path.name).is_file())


def submitted_path(results: Path, result: RunResult) -> Path:
    """Where a result of an accepted submission is, beside a results folder."""
    folder = submission_folder(results.parent, result.suite, result.suite_version, result.method)
    return folder / path_in_submission(result)


def card_of(result_file: Path) -> Card | None:
    """The card of the submission that a result file is of; None if it was not submitted.

    Raises:
        HarnessError: the card is not valid.
    """
    folder = result_file.parent.parent
    return read_card(folder / CARD) if (folder / MANIFEST).is_file() and (folder / CARD).is_file() else None


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        HarnessError: it is missing or not valid; the message names file and field.
    """
    try:
        content = read_yaml(path)
    except OSError as error:
        raise HarnessError(f"No card {path}.", "Write it as docs/submitting.md says.") from error
    return _validated(Card, content, path, "Write it as docs/submitting.md says.")


def read_manifest(path: Path) -> Submission:
    """Read the manifest of a submission.

    Raises:
        HarnessError: it is missing or not valid; the message names file and field.
    """
    return _validated(Submission, read_strict_json(path), path, "Make it by: harness submit.")


def read_strict_json(path: Path) -> Any:
    """Read a JSON file, without what its grammar or this project's files do not have.

    Raises:
        HarnessError: it is missing, not UTF-8, not JSON, nested deeply, holds NaN or infinity, or a key twice.
    """
    hint = "Write it by: harness submit."
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise HarnessError(f"{path}: missing.", hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path}: cannot be read as UTF-8 ({type(error).__name__}).", hint) from error
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_mapping)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path}, row {error.lineno:,}: not JSON: {error.msg}.", hint) from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise HarnessError(f"{path}: {reason}.", hint) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _mapping(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key {key[:60]!r} is there twice")
        mapping[key] = value
    return mapping


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], content: Any, path: Path, hint: str) -> _Model:
    if not isinstance(content, Mapping):
        raise HarnessError(f"{path}: not a mapping of keys to values.", hint)
    try:
        # By way of JSON, in which strict models take lists for tuples.
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        # A misspelt key also makes the right one missing: the misspelling comes first.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise HarnessError(f"{path}: {where}: there is no such key.", "Leave it out.") from error
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise HarnessError(f"{path}: {where + ': ' if where else ''}{message}.", hint) from error
