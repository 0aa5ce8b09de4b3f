"""The console that commands talk to people on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console(stderr: bool) -> "Console":
    """A console that shows names, titles and folders as they are: none of their characters is markup."""
    from rich.console import Console

    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
