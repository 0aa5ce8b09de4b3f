"""The base class of data sources."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.data.records import RawDomain, ReadProgress, no_read_progress


def omitted_if(default: Any) -> Any:
    """A field that is left out of dumps while it has its default.

    For options added after suites were published: a suite that does not set the option keeps its identity.
    """
    return Field(default=default, exclude_if=lambda value: value == default)


class Source(BaseModel, ABC):
    """Where a domain comes from: validated options of a suite or data set file, and how its files are read.

    A subclass is registered under its `source` name as an entry point of the group `cdsr_harness.sources`.

    Attributes:
        source: the source's name.
        users: name of the set of user ids. A person has one id in all domains that name the same set; None if the ids
            are the domain's own, so that its users are unknown in other domains.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    users: str | None = None

    @property
    def timed(self) -> bool:
        """Whether events have timestamps, so that two events of a user can have the same one."""
        return True

    @abstractmethod
    def files(self, folder: Path) -> Sequence[Path]:
        """The files that the domain is read from; it is prepared again when one of them changes.

        Args:
            folder: the data folder, which relative paths start from.
        """

    @abstractmethod
    def open(self, name: str, folder: Path, report: ReadProgress = no_read_progress) -> RawDomain:
        """Start reading; files are opened and checked as the chunks are consumed.

        Args:
            name: the domain's name.
            folder: the data folder, which relative paths start from.
            report: called with the progress of reading.

        Raises:
            HarnessError: a file is missing, broken or of another format, now or while chunks are read.
        """
