"""Evaluates a scorer on a scenario outside a suite run: no result file, no leaderboard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.evaluation.candidate_sets import NotApplicable, Ranking
from harness.methods.api import Scorer
from harness.protocol.scenario import Scenario
from harness.protocol.slices import slices_of
from harness.protocol.split import TrainingData
from harness.protocol.suite import Suite
from harness.results.ranks_table import RankTable
from harness.run.progress import make_console, show_progress
from harness.run.scenario_data import open_test, open_training
from harness.run.score import rank_test
from harness.run.suite import CACHE, DATA
from harness.run.workspace import Workspace, open_workspace
from harness.suites import load_suite, pick_scenarios


@dataclass(frozen=True)
class Evaluation:
    """The ranks of a scenario's held-out items by a scorer.

    Attributes:
        table: ranks by candidate set, with the users' slices.
        absent: by candidate set, why the scorer could not be ranked.
    """

    table: RankTable
    absent: Mapping[str, str]

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Candidate set -> slice -> metric -> mean over the slice's users; None where the slice is empty."""
        return {name: self.table.metrics(name) for name in self.table.ranks}


def training_data(
    scenario: str, suite: Suite | str = "cdsr", *, data_dir: Path = DATA, cache_dir: Path = CACHE
) -> TrainingData:
    """Load what a method may see of a scenario: train and validation of the target and the sources.

    Args:
        scenario: its name, such as `drama-from-action`.
        suite: a suite, its name, or the path of a .yaml file.
        data_dir: folder of the data sets' files.
        cache_dir: folder of prepared data.

    Raises:
        HarnessError: an unknown suite or scenario, or missing data.
    """
    workspace, chosen = _open(scenario, suite, data_dir, cache_dir)
    return open_training(workspace, chosen)


def evaluate(
    scorer: Scorer | Callable[[TrainingData], Scorer],
    scenario: str,
    suite: Suite | str = "cdsr",
    *,
    data_dir: Path = DATA,
    cache_dir: Path = CACHE,
) -> Evaluation:
    """Rank the held-out items of a scenario by a scorer, under the suite's protocol.

    Args:
        scorer: a fitted scorer, or a function that fits one on the scenario's training data. The function is called
            before the test events are loaded.
        scenario: the scenario's name, such as `drama-from-action`.
        suite: a suite, its name, or the path of a .yaml file.
        data_dir: folder of the data sets' files.
        cache_dir: folder of prepared data.

    Returns:
        Ranks and metrics. They leave no result file; `run_suite` does.

    Raises:
        HarnessError: an unknown suite or scenario, or missing data.
        InvalidScoresError: NaN, or scores of the wrong shape or type.
    """
    workspace, chosen = _open(scenario, suite, data_dir, cache_dir)
    training = open_training(workspace, chosen)
    fitted: Scorer = scorer(training) if callable(scorer) else scorer
    test, target = open_test(workspace, chosen), training.target_domain
    with show_progress(make_console(stderr=True)) as progress:
        rankings = rank_test(
            workspace, chosen, target, test, fitted, lambda done, total: progress.step(scenario, done, total)
        )
    ranks = {name: ranking.ranks for name, ranking in rankings.items() if isinstance(ranking, Ranking)}
    absent = {name: ranking.reason for name, ranking in rankings.items() if isinstance(ranking, NotApplicable)}
    return Evaluation(RankTable(ranks, slices_of(test, target)), absent)


def _open(scenario: str, suite: Suite | str, data_dir: Path, cache_dir: Path) -> tuple[Workspace, Scenario]:
    loaded = load_suite(suite) if isinstance(suite, str) else suite
    (chosen,) = pick_scenarios(loaded, [scenario])
    with show_progress(make_console(stderr=True)) as progress:
        workspace = open_workspace(
            loaded, cache_dir=cache_dir, data_dir=data_dir, domains=chosen.domains, progress=progress
        )
    return workspace, chosen
