"""Studies: the same trials for all, the best by validation wins, and what was found is used where it fits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evaluation.rank import validation_ndcg
from harness.methods.api import FitContext, gather_candidates
from harness.protocol.suite import Budget
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.run.splits import open_training
from harness.run.tune import tune_method, tuning_tasks
from harness.tuning.record import read_tuning, write_tuning
from harness.tuning.space import Space

SPACE = Space.model_validate({"share": {"first": 0.5, "low": 0.0, "high": 1.0}})


@dataclass(frozen=True)
class BlendSettings:
    share: float = 0.5


@dataclass(frozen=True)
class Blend:
    """Popularity, blended with noise: the less noise, the better; above `diverges_above`, NaN."""

    settings: BlendSettings = field(default_factory=BlendSettings)
    space: Space = SPACE
    diverges_above: float = 2.0

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        return (target,)

    def tuned(self, chosen: Mapping[str, Any]) -> "Blend":
        if set(chosen) - {"share"}:
            raise ValueError("there is no setting 'noise'")
        return Blend(BlendSettings(**chosen), self.space, self.diverges_above)

    def fit(self, data, context: FitContext):
        return self

    def score(self, histories, candidates):
        n_users, n_items = len(histories.users), 40
        scores = np.tile(np.linspace(0, 1, n_items, dtype=np.float32), (n_users, 1))
        noise = np.random.default_rng(0).random((n_users, n_items), dtype=np.float32)
        share = self.settings.share
        blended = (1 - share) * scores + share * noise
        return gather_candidates(np.full_like(blended, np.nan) if share > self.diverges_above else blended, candidates)


@pytest.fixture
def place(toy, tmp_path):
    toy.suite = toy.replace(toy.suite, budget=Budget(5, 3, 2), tuned=tmp_path / "toy.tuned")
    toy.add("blend", Blend)
    return toy


def tune(place, method: str = "blend"):
    (task, *_) = tuning_tasks(place.suite, place.suite.scenarios, [method])
    tuning = tune_method(place.workspace(), task.scenario, method, lambda *_: None)
    write_tuning(tuning, task.path)
    return tuning, task.path


def run(place, methods=("blend", "popularity")):
    place.run(*methods, seeds=(0,), scenarios=[place.suite.scenarios[0].name])
    return collect(place.out / "results", "toy", 1)


def test_a_study_has_the_budgets_trials_and_its_best_wins(place) -> None:
    found, path = tune(place)
    assert len(found.trials) == 5
    assert found.trials[0].settings == {"share": 0.5}
    best = max(found.trials, key=lambda trial: trial.validation)
    assert found.chosen == best.settings
    data = open_training(place.workspace(), place.suite.scenarios[0])
    scorer = Blend().tuned(found.chosen)
    assert validation_ndcg(scorer, data.target_domain) == best.validation
    assert read_tuning(path) == found
    assert path.read_text().startswith("# Found by: harness tune --suite toy/v1 --method blend --scenario left-from-")


def test_a_study_draws_the_same_settings_again_and_for_every_method_of_the_space(place) -> None:
    place.add("other", lambda: Blend(diverges_above=3.0))
    settings = [[trial.settings for trial in tune(place, name)[0].trials] for name in ("blend", "blend", "other")]
    assert settings[0] == settings[1] == settings[2]


def test_scenarios_that_look_the_same_to_a_method_share_a_study(place) -> None:
    assert [s.label for s in tuning_tasks(place.suite, place.suite.scenarios * 2, ["blend", "popularity"])] == [
        "blend on left",
        "blend on right",
    ]


def test_a_trial_that_diverges_is_recorded_and_never_chosen(place) -> None:
    place.add("blend", lambda: Blend(diverges_above=0.5))
    found, _ = tune(place)
    scores = [trial.validation for trial in found.trials]
    assert any(score is None for score in scores)
    assert found.chosen["share"] <= 0.5


def test_if_all_diverge_nothing_is_chosen(place) -> None:
    place.add("blend", lambda: Blend(diverges_above=-1))
    with pytest.raises(HarnessError, match="No trial of blend in left-from-right gave finite scores"):
        tune(place)


def test_runs_take_what_was_found_and_say_so(place) -> None:
    assert "| blend‡ " in leaderboard(run(place))
    found, _ = tune(place)
    board = run(place)
    (result,) = [r for r in board.results if r.method == "blend"]
    assert result.tuning == found
    assert result.settings == found.chosen
    text = leaderboard(board)
    assert "‡" not in text
    row = next(line for line in text.splitlines() if "nothing but settings, on left" in line)
    assert all(f"{trial.validation:.4f}" in row for trial in found.trials)


def test_settings_found_with_another_budget_are_refused(place) -> None:
    tune(place)
    place.suite = place.replace(place.suite, budget=Budget(6, 3, 2))
    with pytest.raises(HarnessError, match=r"left\.yaml: found with another budget .*harness tune .* --again"):
        run(place)


def test_settings_found_on_other_data_are_refused(place) -> None:
    found, path = tune(place)
    write_tuning(found.model_copy(update={"data": {"left": "0" * 64}}), path)
    with pytest.raises(HarnessError, match="were chosen on other data of 'left'"):
        run(place)


def test_settings_that_the_method_lacks_are_refused(place) -> None:
    found, path = tune(place)
    write_tuning(found.model_copy(update={"chosen": {"noise": 1}}), path)
    with pytest.raises(HarnessError, match=r"left\.yaml: chosen\.noise: there is no such setting"):
        run(place)


@pytest.mark.parametrize("text", ["trials: [", "method: blend"])
def test_a_damaged_file_is_named(place, text: str) -> None:
    _, path = tune(place)
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"left\.yaml: .*harness tune"):
        run(place)
