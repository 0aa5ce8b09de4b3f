"""What every source has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.data.records import RawDomain, ReadProgress, no_read_progress


def added(default: Any) -> Any:
    """The default of an option that suites were published before: left out where it stands, so that a suite which does
    not name the option is what it was."""
    return Field(default=default, exclude_if=lambda value: value == default)


class Source(BaseModel, ABC):
    """Where a domain comes from: the options of a suite or data set file, checked, and the reading.

    Attributes:
        source: the source's name.
        users: whose user ids these are. One person has one id in all domains that name the same; None where the
            ids are the domain's own, so that nobody in it is known elsewhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    users: str | None = None

    @property
    def timed(self) -> bool:
        """Whether it has timestamps, so that two events of a user can have the same."""
        return True

    @abstractmethod
    def files(self, folder: Path) -> Sequence[Path]:
        """The files it is read from.

        Args:
            folder: the data folder, which relative paths start from.
        """

    @abstractmethod
    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """Starts reading; files are opened and checked as the chunks are asked for.

        Args:
            name: the domain's name.
            folder: the data folder, which relative paths start from.
            report: told how far the reading is.

        Raises:
            HarnessError: a file that is missing, broken or not of this source, now or while chunks are read.
        """
