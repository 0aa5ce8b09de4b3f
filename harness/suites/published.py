"""Published results of others on a suite's data, for comparison on its board."""

from dataclasses import dataclass
from pathlib import Path

from harness.storage.yaml_file import read_yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        method: the method's name in the harness.
        target: the domain.
        candidates: the candidate set.
        metrics: values by name.
        by: the paper and table.
    """

    method: str
    target: str
    candidates: str
    metrics: dict[str, float]
    by: str


def published(suite: str, version: int) -> list[Published]:
    """Published results of a shipped suite, if it is the version with the same data; none of other suites."""
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
