"""Finds merging rules by entry point."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from harness.errors import HarnessError, UnavailableError
from weaverec.merging.rule import MergeRule, as_rule

#: An entry point names a rule, its class, a function that makes one, or a function of task vectors.
ENTRY_POINTS = "cdsr_harness.merge_rules"


def rule_names() -> list[str]:
    """Names of all installed merging rules."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)})


def make_rule(name: str) -> tuple[MergeRule, str]:
    """A rule with its default parameters, and where its code is, as `module:name`.

    Raises:
        HarnessError: no such rule, or one that two distributions offer; or what is offered is not a rule.
        UnavailableError: its package cannot be imported.
    """
    entry = _only(name, entry_points(group=ENTRY_POINTS, name=name))
    try:
        return as_rule(entry.load()), entry.value
    except ImportError as error:
        raise UnavailableError(
            f"The merging rule {name!r} cannot be imported: {error}.", "Install what it needs."
        ) from error
    except HarnessError as error:
        raise HarnessError(f"The merging rule {name!r} ({entry.value}): {error.what}", error.hint) from error


def _only(name: str, offered: Iterable[EntryPoint]) -> EntryPoint:
    entries = list(offered)
    if not entries:
        raise HarnessError.unknown("merging rule", name, rule_names())
    distributions = sorted({entry.dist.name if entry.dist else "" for entry in entries})
    if len(distributions) > 1:
        raise HarnessError(
            f"The merging rule {name!r} is offered by several installed distributions: {', '.join(distributions)}.",
            "Uninstall one of them, or rename its entry point.",
        )
    return entries[0]
