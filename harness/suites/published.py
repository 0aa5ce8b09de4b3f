"""Figures that others have published on a suite's data, to set a board's own beside."""

from dataclasses import dataclass
from pathlib import Path

from harness.storage.yaml_file import read_yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One row of somebody's table.

    Attributes:
        method: the harness's name of the method.
        target: the domain.
        candidates: what was ranked.
        metrics: by name.
        by: where it stands.
    """

    method: str
    target: str
    candidates: str
    metrics: dict[str, float]
    by: str


def published(suite: str, version: int) -> list[Published]:
    """What is known of a suite of the harness's own, in the version whose data others used; nothing of a user's."""
    path = _FOLDER / suite / "published.yaml"
    if not path.is_file():
        return []
    file = read_yaml(path)
    if file["version"] != version:
        return []
    return [
        Published(
            row.pop("method"),
            row.pop("target"),
            row.pop("candidates"),
            by=row.pop("by"),
            metrics={name: float(value) for name, value in row.items()},
        )
        for row in file["rows"]
    ]
