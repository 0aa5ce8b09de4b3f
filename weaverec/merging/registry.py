"""Finds merging rules by entry point."""

from harness.errors import HarnessError
from harness.extensions import extensions, load_extension
from weaverec.merging.api import MergeRule, as_rule

#: An entry point names a rule, its class, a function that makes one, or a function of task vectors.
ENTRY_POINTS = "cdsr_harness.merge_rules"


def rule_names() -> list[str]:
    """Names of all installed merging rules.

    Raises:
        HarnessError: two installed distributions offer one name.
    """
    return list(extensions(ENTRY_POINTS))


def make_rule(name: str) -> tuple[MergeRule, str]:
    """A rule with its default parameters, and where its code is, as `module:name`.

    Raises:
        HarnessError: no such rule, or one that two distributions offer; or what is offered is not a rule.
        UnavailableError: its package cannot be imported.
    """
    rules = extensions(ENTRY_POINTS)
    if name not in rules:
        raise HarnessError.unknown("merging rule", name, rules)
    return as_rule(load_extension(rules[name])), rules[name].value
