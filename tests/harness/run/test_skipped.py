"""Methods that cannot run on a scenario are skipped, and the board gives the reason."""

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
    suite_run = toy.run(*methods, scenarios=scenarios and [scenario.name for scenario in scenarios])
    return suite_run.plan, leaderboard(suite_run.board)


def test_a_method_is_skipped_only_on_scenarios_it_refuses(toy) -> None:
    toy.add("picky", NeedsLeft)
    plan, board = run(toy, "popularity", "picky")
    assert [(skipped.scenario.name, skipped.method, skipped.seed) for skipped in plan.skipped] == [
        ("right-from-left", "picky", 0),
        ("right-from-left", "picky", 1),
    ]
    assert len(plan.runs) == 6
    assert "- picky, seeds 0, 1, skipped: No clock in right. Use another." in board
    assert "| *skipped* |" in board.replace("  ", "")
    assert "**Incomplete:** no result of picky" not in board


def test_a_skipped_method_is_on_the_board_once_it_can_run(toy) -> None:
    toy.add("picky", NeedsLeft)
    run(toy, "popularity", "picky")
    toy.add("picky", lambda: replace(NeedsLeft(), needs="right"))
    _, board = run(toy, "picky", scenarios=toy.suite.scenarios[1:])
    assert "skipped" not in board


def test_a_plan_without_any_possible_run_is_refused(toy) -> None:
    toy.add("picky", NeedsLeft)
    with pytest.raises(HarnessError, match="No requested run can be made here: picky on right-from-left: No clock"):
        run(toy, "picky", scenarios=toy.suite.scenarios[1:])


def test_a_method_whose_package_is_missing_is_skipped(toy) -> None:
    def unimportable() -> None:
        raise ImportError("No module named 'rare'")

    toy.add("rare", unimportable)
    plan, board = run(toy, "popularity", "rare")
    assert {skipped.method for skipped in plan.skipped} == {"rare"}
    assert "rare, seeds 0, 1, skipped: Method 'rare' cannot be imported: No module named 'rare'." in board


def training_data(validated: bool = True, texts: bool = True) -> TrainingData:
    """Return data of two domains, the source without validation events or texts if asked for."""
    domains = {}
    for name in ("left", "right"):
        domain = LeaveOneOut().training(domain_of([[0, 1, 2, 3], [1, 2, 3, 4]], 5, name))
        if name == "right" and not validated:
            domain = replace(domain, validation=replace(domain.validation, targets=np.zeros(0, dtype=np.int64)))
        if name == "right" and not texts:
            domain = replace(domain, catalogue=replace(domain.catalogue, texts=("",) * 5))
        domains[name] = domain
    return TrainingData("left", ("right",), domains)


def test_components_need_validation_events_and_texts_of_their_domains() -> None:
    source, both, target = (MergedModel(mixes) for mixes in (
        lambda _, sources: [(source,) for source in sources],
        lambda target, sources: [(target, *sources)],
        lambda target, _: [(target,)],
    ))  # fmt: skip
    for method in (source, both, target):
        method.check_data(training_data())
    with pytest.raises(HarnessError, match="right has no validation events"):
        source.check_data(training_data(validated=False))
    both.check_data(training_data(validated=False))  # the target's validation events suffice
    for method in (source, both):
        with pytest.raises(HarnessError, match="No item of right has a text"):
            method.check_data(training_data(texts=False))
    target.check_data(training_data(validated=False, texts=False))
