"""Methods that cannot learn from a scenario's data are skipped: the board says why, and the others are on it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from baselines.popularity import Popularity
from harness.errors import HarnessError
from harness.methods.api import NoSettings
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.report.leaderboard import leaderboard
from tests.conftest import domain_of
from weaverec.merging.method import MergedModel


@dataclass(frozen=True)
class NeedsLeft:
    settings: NoSettings = field(default_factory=NoSettings)
    needs: str = "left"

    def check_data(self, data: TrainingData) -> None:
        if data.target != self.needs:
            raise HarnessError(f"No clock in {data.target}.", "Use another.")

    def fit(self, data, context):
        return Popularity().fit(data, context)


def run(toy, *methods: str, scenarios=None):
    done = toy.run(*methods, scenarios=scenarios and [scenario.name for scenario in scenarios])
    return done.plan, leaderboard(done.board)


def test_a_method_is_skipped_where_it_cannot_run_and_runs_where_it_can(toy) -> None:
    toy.add("picky", NeedsLeft)
    plan, board = run(toy, "popularity", "picky")
    assert [(each.scenario.name, each.method, each.seed) for each in plan.skipped] == [
        ("right-from-left", "picky", 0),
        ("right-from-left", "picky", 1),
    ]
    assert len(plan.runs) == 6
    assert "- picky, seeds 0, 1, skipped: No clock in right. Use another." in board
    assert "| *skipped* |" in board.replace("  ", "")
    assert "**Incomplete:** no result of picky" not in board


def test_a_reason_goes_when_the_run_can_be_made(toy) -> None:
    toy.add("picky", NeedsLeft)
    run(toy, "popularity", "picky")
    toy.add("picky", lambda: replace(NeedsLeft(), needs="right"))
    _, board = run(toy, "picky", scenarios=toy.suite.scenarios[1:])
    assert "skipped" not in board


def test_a_plan_of_nothing_that_can_run_is_refused(toy) -> None:
    toy.add("picky", NeedsLeft)
    with pytest.raises(HarnessError, match="No requested run can be made here: picky on right-from-left: No clock"):
        run(toy, "picky", scenarios=toy.suite.scenarios[1:])


def test_a_package_that_is_not_installed_skips_its_method(toy) -> None:
    def unimportable() -> None:
        raise ImportError("No module named 'rare'")

    toy.add("rare", unimportable)
    plan, board = run(toy, "popularity", "rare")
    assert {each.method for each in plan.skipped} == {"rare"}
    assert "rare, seeds 0, 1, skipped: Method 'rare' cannot be imported: No module named 'rare'." in board


def training(validated: bool = True, texts: bool = True) -> TrainingData:
    domains = {}
    for name in ("left", "right"):
        part = LeaveOneOut().training(domain_of([[0, 1, 2, 3], [1, 2, 3, 4]], 5, name))
        if name == "right" and not validated:
            part = replace(part, validation=replace(part.validation, targets=np.zeros(0, dtype=np.int64)))
        if name == "right" and not texts:
            part = replace(part, catalogue=replace(part.catalogue, texts=("",) * 5))
        domains[name] = part
    return TrainingData("left", ("right",), domains)


def test_a_component_needs_validation_events_and_texts_in_what_it_learns_from() -> None:
    source, both, target = (MergedModel(mixes) for mixes in (
        lambda _, sources: [(source,) for source in sources],
        lambda target, sources: [(target, *sources)],
        lambda target, _: [(target,)],
    ))  # fmt: skip
    for method in (source, both, target):
        method.check_data(training())
    with pytest.raises(HarnessError, match="right has no validation events"):
        source.check_data(training(validated=False))
    both.check_data(training(validated=False))  # the target's choose
    for method in (source, both):
        with pytest.raises(HarnessError, match="No item of right has a text"):
            method.check_data(training(texts=False))
    target.check_data(training(validated=False, texts=False))
