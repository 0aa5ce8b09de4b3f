"""What a reader of one result should be careful about, in sentences."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from harness.protocol.candidate_names import candidate_count
from harness.report.markdown import escaped
from harness.report.merging import is_merge
from harness.report.time_guard import is_selected_on_test
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.suites import shipped_suite

_shipped_suite = cache(shipped_suite)  # a page asks for each result
#: A share of users with a tied held-out item that is worth a word.
_MANY_TIES = 0.01


def cautions(result: RunResult, ranks: RankTable | None) -> list[str]:
    """What to be careful about.

    Args:
        result: the result.
        ranks: of it; None if their file is not there.
    """
    return [
        f"One seed: another one gives another figure, and ± does not hold that. All seeds: `harness leaderboard`; "
        f"against another method: `harness compare {escaped(result.method)} OTHER --suite "
        f"{result.suite}/v{result.suite_version}`.",
        *cautions_of_any_seed(result, ranks),
    ]


def cautions_of_any_seed(result: RunResult, ranks: RankTable | None) -> list[str]:
    """What to be careful about, however many seeds there are; see `cautions`."""
    return [
        *_on_training(result),
        *_on_data(result),
        *_on_candidates(result),
        *_on_ranks(ranks),
        *_on_origin(result),
    ]


def _on_training(result: RunResult) -> Iterator[str]:
    for artefact in (artefact for artefact in result.training if not is_merge(artefact)):
        stopped, label = artefact.notes.get("stopped_by"), escaped(artefact.label)
        if stopped not in (None, "patience"):
            yield f"{label} was stopped by the {escaped(str(stopped))}: more training may do better."
        elif stopped is None and artefact.steps and artefact.best_step == artefact.steps:
            yield f"{label} was best after its last step, so that more training may do better."
    if result.settings and result.tuning is None:
        if result.budget["trials"] > 1:
            yield f"Not tuned, though the budget has {result.budget['trials']} trials: it may do better."
        else:
            yield "Not tuned: the suite runs every method with fixed settings."


def _on_data(result: RunResult) -> Iterator[str]:
    if is_selected_on_test(result):
        yield "Selected on test: settings and checkpoints were chosen by the events that are reported."
    elif result.leakage.exposed_users:
        yield (
            f"For {result.leakage.exposed_users:.1%} of the test users, training data hold events later than their "
            "test event; a temporal split has none."
        )
    elif result.leakage.unknown:
        yield f"Training data may hold events later than test events: {escaped(result.leakage.unknown)}."
    for name, domain in result.data.items():
        if domain.ties is None:
            yield f"{name}: the order of its ties was not audited."
            continue
        if domain.ties.order == "file" and domain.ties.test_tied:
            yield (
                f"{name}: events of one time are in the order of the file, which selects the test event of "
                f"{domain.ties.test_tied:.1%} of its users."
            )
        yield from (f"{name}: {warning}" for warning in domain.ties.warnings())


def _on_candidates(result: RunResult) -> Iterator[str]:
    sampled = [name for name in result.candidates if name.startswith("sampled-")]
    for name in sampled:
        yield f"{name} ranks among {candidate_count(name)} items: sampled metrics can reverse the order of methods."
    users = result.slices["all"]
    for name, record in result.candidates.items():
        if record.unscored:
            yield f"{record.unscored:,} of {users:,} users got no score among {name}, and count as misses."
        if record.index not in (None, "exact") and record.recall is not None:
            yield f"{name} comes from an approximate index, which finds {record.recall:.4f} of an exact one's items."
    for name, shares in (result.validity or {}).items():
        faults = ", ".join(f"{fault} {share:.1%}" for fault, share in shares.items() if fault != "answers" and share)
        if faults:
            yield f"Written answers with faults among {name}, which count as misses: {faults}."


def _on_ranks(ranks: RankTable | None) -> Iterator[str]:
    if ranks is None:
        yield "The files of ranks and users are not beside it: no interval, and the metrics could not be checked."
        return
    for name, found in ranks.ranks.items():
        tied = float(np.mean(found.tied > 0))
        if tied > _MANY_TIES:
            yield f"Among {name}, the held-out item ties with others for {tied:.1%} of the users; ties count fairly."


def _on_origin(result: RunResult) -> Iterator[str]:
    suite = _shipped_suite(result.suite, result.suite_version)
    if suite is not None and suite.retired:
        yield f"{suite.id} is retired: {suite.retired}"
    if suite is None:
        yield f"{result.suite}/v{result.suite_version} is not a built-in suite: what it runs is in its own file."
    if result.provenance.commit is None:
        yield "It was not made from a checkout, so its commit is unknown."
    elif not result.provenance.clean:
        yield "The checkout had changes that no commit holds."
