"""Whose code an exception arose in: the harness's own, or that of a plug-in somebody else has to mend."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from harness.errors import HarnessError

#: What the names of all groups of entry points begin with.
_GROUPS = "cdsr_harness."
_OWN = "cdsr-harness"


@contextmanager
def told_as_plugins(method: str) -> Iterator[None]:
    """Tells exceptions of a plug-in's method as the plug-in's.

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
            f"The plug-in {plugin} failed: {type(error).__name__}: {error}.",
            "Report it to its authors, with what --debug prints, or run without it.",
        ) from error


def plugin_behind(error: BaseException, method: str = "") -> str | None:
    """The plug-in in whose code, or below it, an exception arose; None where it is the harness's own.

    Args:
        error: as it was caught.
        method: the name of the method that was at work, if it is known.

    Returns:
        Its distribution and entry point: `shop-methods 1.2 (entry point gru = shop.models:gru)`.
    """
    entries = [entry for group in entry_points().groups if group.startswith(_GROUPS) for entry in _strangers(group)]
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in ("harness", "baselines", "weaverec"):
            return None
        behind = [entry for entry in entries if entry.module.partition(".")[0] == package]
        if behind:
            named = [entry for entry in behind if entry.name in (method, method.partition(".")[0])]
            return _told(named or behind)
    return None


def _strangers(group: str) -> list[EntryPoint]:
    return [entry for entry in entry_points(group=group) if entry.dist is not None and entry.dist.name != _OWN]


def _told(entries: list[EntryPoint]) -> str:
    dist = entries[0].dist
    whose = f"{dist.name} {dist.version}" if dist else "of an unknown distribution"
    if len(entries) > 1:
        return f"{whose} (entry points {', '.join(sorted(entry.name for entry in entries))})"
    return f"{whose} (entry point {entries[0].name} = {entries[0].value})"
