"""Whose code an exception arose in: the harness's own, or that of a plug-in somebody else has to mend."""

import traceback
from importlib.metadata import EntryPoint, entry_points

#: What the names of all groups of entry points begin with.
_GROUPS = "cdsr_harness."
_OWN = "cdsr-harness"


def plugin_behind(error: BaseException) -> str | None:
    """The plug-in in whose code, or below it, an exception arose; None where it is the harness's own.

    Returns:
        Its distribution and entry point: `shop-methods 1.2 (entry point gru = shop.models:gru)`.
    """
    entries = [entry for group in entry_points().groups if group.startswith(_GROUPS) for entry in _strangers(group)]
    packages = {entry.module.partition(".")[0] for entry in entries}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in packages:
            # The one that names this module, or else any of its package.
            return _told(
                next((entry for entry in entries if entry.module == module), None)
                or next(entry for entry in entries if entry.module.partition(".")[0] == package)
            )
        if package in ("harness", "baselines", "weaverec"):
            return None
    return None


def _strangers(group: str) -> list[EntryPoint]:
    return [entry for entry in entry_points(group=group) if entry.dist is not None and entry.dist.name != _OWN]


def _told(entry: EntryPoint) -> str:
    dist = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
    return f"{dist} (entry point {entry.name} = {entry.value})"
