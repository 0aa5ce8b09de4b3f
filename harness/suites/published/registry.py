"""The registry of published figures: one YAML file per source, in the folder of this module."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError
from harness.storage.yaml_file import read_yaml

_FOLDER = Path(__file__).parent

#: A metric and its cutoff, as in `ndcg@10`.
_MetricName = Annotated[str, Field(pattern=r"^[a-z][\w-]*@[1-9]\d*$")]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Strict):
    """A data set after its k-core; users and items tell it from other preparations of the same reviews.

    Attributes:
        name: for people.
        users: number of users.
        items: number of items.
    """

    name: str
    users: Annotated[int, Field(gt=0)]
    items: Annotated[int, Field(gt=0)]


class Protocol(_Strict):
    """How figures were made, as far as it decides what they can stand beside.

    Attributes:
        k_core: fewest events of a user and an item.
        split: what is held out.
        candidates: what is ranked: `full`, or `sampled-N` for the held-out item and N - 1 negatives.
        history: whether items of the user's own history are among the candidates.
        ties: the order of a user's events with equal timestamps: that of the file, or a random one.
        known_from: where the source says so, or how it was found out.
    """

    k_core: Annotated[int, Field(ge=0)]
    split: Literal["leave-one-out", "temporal"]
    candidates: Annotated[str, Field(pattern=r"^full$|^sampled-\d+$")]
    history: Literal["removed", "kept", "unknown"]
    ties: Literal["file", "hashed", "unknown"]
    known_from: str

    @property
    def candidate_set(self) -> str | None:
        """The candidate set of the harness with these candidates; None if there is none or it is not known."""
        if self.candidates != "full":
            return self.candidates if self.history == "removed" else None
        return {"removed": "full", "kept": "full-history-kept", "unknown": None}[self.history]


class Figure(_Strict):
    """What a source reports of one method.

    Attributes:
        method: as the source names it.
        loss: that it was trained with, and its negatives.
        row: the method of the harness that it is compared with: the same model with the same loss. None: there is none.
        values: by data set and metric.
    """

    method: str
    loss: str
    row: str | None = None
    values: dict[str, dict[_MetricName, _Share]]


class Source(_Strict):
    """A paper, repository or thread with figures of one protocol.

    Attributes:
        key: the name of its file.
        citation: authors, title and place.
        url: where the figures stand.
        data: by the names that the figures use.
        protocol: of all figures.
        figures: of single methods.
    """

    key: str
    citation: str
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    data: dict[str, Data]
    protocol: Protocol
    figures: tuple[Figure, ...]

    @model_validator(mode="after")
    def _known_data(self) -> "Source":
        unknown = {name for figure in self.figures for name in figure.values} - self.data.keys()
        if unknown:
            raise ValueError(f"figures on {min(unknown)!r}, which is not in `data`")
        return self


@cache
def published_sources() -> tuple[Source, ...]:
    """All sources, by the names of their files.

    Raises:
        HarnessError: a file is not as `Source` describes it.
    """
    return tuple(read_source(path) for path in sorted(_FOLDER.glob("*.yaml")))


def read_source(path: Path) -> Source:
    """Read the file of a source.

    Raises:
        HarnessError: it cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        return Source(key=path.stem, **read_yaml(path))
    except (TypeError, ValidationError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, problem["loc"]))
        raise HarnessError(f"{path}: {place}: {problem['msg']}.", "See `harness.suites.published.Source`.") from error
