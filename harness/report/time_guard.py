"""What a scenario's training data show of its test: selection by test events, and events later than them."""

from harness.protocol.split import SelectedOnTest
from harness.results.record import LeakageRecord, RunResult


def time_guard(result: RunResult) -> str:
    """What a scenario's training data show of its test events, in sentences."""
    sentences = _later_events(result.leakage)
    if not is_selected_on_test(result):
        return sentences
    return (
        "**Selected on test**: settings and checkpoints were chosen by the events that are reported here. The figures "
        f"are too good, and stand beside no figure of another split. {sentences}"
    )


def is_free_of_leakage(result: RunResult) -> bool:
    """Whether the training data are known to hold no test event and no later one."""
    leakage = result.leakage
    return not is_selected_on_test(result) and not (leakage.unknown or leakage.exposed_users)


def is_selected_on_test(result: RunResult) -> bool:
    """Whether the test events also selected settings and checkpoints."""
    return result.scenario.split == SelectedOnTest().identity


def _later_events(leakage: LeakageRecord) -> str:
    if leakage.unknown or leakage.later is None:
        return f"Time guard: cannot be told ({leakage.unknown})."
    if not any(leakage.later.values()):
        return "Time guard: no training or validation event of any domain is later than a test event."
    later = ", ".join(f"{name} {count:,}" for name, count in leakage.later.items())
    return (
        f"Time guard: for {leakage.exposed_users:.1%} of the test users the training data hold events, in some "
        f"domain, later than their test event (for {leakage.exposed_by_own:.1%} events of their own). Training and "
        f"validation events later than the first test event: {later}."
    )
