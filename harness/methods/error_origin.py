"""Which code raised an exception: the harness's own, another package's, or a user's file."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from harness.errors import HarnessError
from harness.extensions import GROUP_PREFIX
from harness.methods.method_file import file_in_traceback

_OWN_DISTRIBUTION = "cdsr-harness"
_OWN_PACKAGES = ("harness", "baselines", "weaverec")


@contextmanager
def method_errors(method: str) -> Iterator[None]:
    """Raise exceptions of a plug-in's method as a `HarnessError` that names the plug-in.

    Raises:
        HarnessError: the plug-in raised something.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        plugin = plugin_behind(error, method)
        if plugin is None:
            raise
        raise HarnessError(
            f"{plugin} failed: {type(error).__name__}: {error}.",
            "Report it to its authors, with what --debug prints, or run without it.",
        ) from error


def plugin_behind(error: BaseException, method: str = "") -> str | None:
    """The plug-in or file whose code raised an exception, or called what did; None if it is the harness's own code.

    Args:
        error: as it was caught.
        method: the name of the method that was at work, if it is known.

    Returns:
        `The plug-in shop-methods 1.2 (entry point gru = shop.models:gru)` or `The method's file my_method.py, line 12`.
    """
    entries = [entry for group in entry_points().groups if group.startswith(GROUP_PREFIX) for entry in _others(group)]
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in _OWN_PACKAGES:
            break
        offering = [entry for entry in entries if entry.module.partition(".")[0] == package]
        if offering:
            named = [entry for entry in offering if entry.name in (method, method.partition(".")[0])]
            return _described(named or offering)
    place = file_in_traceback(error)
    return f"The method's file {place}" if place else None


def _others(group: str) -> list[EntryPoint]:
    """The entry points of a group that other distributions offer."""
    return [e for e in entry_points(group=group) if e.dist is not None and e.dist.name != _OWN_DISTRIBUTION]


def _described(entries: list[EntryPoint]) -> str:
    dist = entries[0].dist
    named = f"The plug-in {dist.name} {dist.version}" if dist else "A plug-in of an unknown distribution"
    if len(entries) > 1:
        return f"{named} (entry points {', '.join(sorted(entry.name for entry in entries))})"
    return f"{named} (entry point {entries[0].name} = {entries[0].value})"
