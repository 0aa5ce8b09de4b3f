"""Tuning studies: their trials, the choice by validation, and the use of tuned settings in runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.api import FitContext, gather_candidates
from harness.protocol.suite import Budget, Variant
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.run.scenario_data import open_training
from harness.run.tune import tune_method, tuning_tasks
from harness.tuning.record import read_tuning, write_tuning
from harness.tuning.space import Space

SPACE = Space.model_validate({"share": {"first": 0.5, "low": 0.0, "high": 1.0}})


@dataclass(frozen=True)
class BlendSettings:
    share: float = 0.5


@dataclass(frozen=True)
class Blend:
    """Popularity blended with noise; less noise scores better, and a share above `diverges_above` gives NaN."""

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
def tunable_toy(toy, tmp_path):
    toy.suite = toy.replace(toy.suite, budget=Budget(5, 3, 2), tuned=tmp_path / "toy.tuned")
    toy.add("blend", Blend)
    return toy


def tune(tunable_toy, method: str = "blend"):
    (task, *_) = tuning_tasks(tunable_toy.suite, tunable_toy.suite.scenarios, [method])
    tuning = tune_method(tunable_toy.workspace(), task.scenario, method, lambda *_: None)
    write_tuning(tuning, task.path)
    return tuning, task.path


def run(tunable_toy, methods=("blend", "popularity")):
    tunable_toy.run(*methods, seeds=(0,), scenarios=[tunable_toy.suite.scenarios[0].name])
    return collect(tunable_toy.out / "results", "toy", 1)


def test_a_study_runs_the_budget_s_trials_and_chooses_the_best(tunable_toy) -> None:
    tuning, path = tune(tunable_toy)
    assert len(tuning.trials) == 5
    assert tuning.trials[0].settings == {"share": 0.5}
    best = max(tuning.trials, key=lambda trial: trial.validation)
    assert tuning.chosen == best.settings
    data = open_training(tunable_toy.workspace(), tunable_toy.suite.scenarios[0])
    scorer = Blend().tuned(tuning.chosen)
    assert validation_ndcg(scorer, data.target_domain) == best.validation
    assert read_tuning(path) == tuning
    assert path.read_text().startswith("# Found by: harness tune --suite toy/v1 --method blend --scenario left-from-")


def test_studies_with_one_space_draw_the_same_settings(tunable_toy) -> None:
    tunable_toy.add("other", lambda: Blend(diverges_above=3.0))
    settings = [[trial.settings for trial in tune(tunable_toy, name)[0].trials] for name in ("blend", "blend", "other")]
    assert settings[0] == settings[1] == settings[2]


def test_scenarios_with_the_same_training_domains_share_a_study(tunable_toy) -> None:
    assert [
        s.label for s in tuning_tasks(tunable_toy.suite, tunable_toy.suite.scenarios * 2, ["blend", "popularity"])
    ] == [
        "blend on left",
        "blend on right",
    ]


def test_a_diverging_trial_is_recorded_but_not_chosen(tunable_toy) -> None:
    tunable_toy.add("blend", lambda: Blend(diverges_above=0.5))
    tuning, _ = tune(tunable_toy)
    scores = [trial.validation for trial in tuning.trials]
    assert any(score is None for score in scores)
    assert tuning.chosen["share"] <= 0.5


def test_a_study_without_finite_scores_is_an_error(tunable_toy) -> None:
    tunable_toy.add("blend", lambda: Blend(diverges_above=-1))
    with pytest.raises(HarnessError, match="No trial of blend in left-from-right gave finite scores"):
        tune(tunable_toy)


def test_runs_use_and_record_tuned_settings(tunable_toy) -> None:
    assert "| blend‡ " in leaderboard(run(tunable_toy))
    tuning, _ = tune(tunable_toy)
    board = run(tunable_toy)
    (result,) = [r for r in board.results if r.method == "blend"]
    assert result.tuning == tuning
    assert result.settings == tuning.chosen
    text = leaderboard(board)
    assert "‡" not in text
    row = [line for line in text.splitlines() if "nothing but settings, on left" in line][-1]  # of chosen settings
    assert all(f"{trial.validation:.4f}" in row for trial in tuning.trials)


def test_settings_tuned_with_another_budget_are_refused(tunable_toy) -> None:
    tune(tunable_toy)
    tunable_toy.suite = tunable_toy.replace(tunable_toy.suite, budget=Budget(6, 3, 2))
    with pytest.raises(HarnessError, match=r"left\.yaml: found with another budget .*harness tune .* --again"):
        run(tunable_toy)


def test_settings_tuned_on_other_data_are_refused(tunable_toy) -> None:
    tuning, path = tune(tunable_toy)
    write_tuning(tuning.model_copy(update={"data": {"left": "0" * 64}}), path)
    with pytest.raises(HarnessError, match="were chosen on other data of 'left'"):
        run(tunable_toy)


def test_unknown_tuned_settings_are_refused(tunable_toy) -> None:
    tuning, path = tune(tunable_toy)
    write_tuning(tuning.model_copy(update={"chosen": {"noise": 1}}), path)
    with pytest.raises(HarnessError, match=r"left\.yaml: chosen\.noise: there is no such setting"):
        run(tunable_toy)


def test_tuned_settings_that_a_variant_fixes_are_refused(tunable_toy) -> None:
    tuning, path = tune(tunable_toy)
    fixed = {"half": Variant("blend", {"share": 0.5})}
    tunable_toy.suite = tunable_toy.replace(tunable_toy.suite, variants=fixed)
    write_tuning(tuning, path.parents[1] / "half" / path.name)
    with pytest.raises(
        HarnessError, match=r"half/left\.yaml: chosen: share: not in the search space of half in toy/v1"
    ):
        run(tunable_toy, methods=("half",))


@pytest.mark.parametrize("text", ["trials: [", "method: blend"])
def test_a_damaged_tuning_file_is_refused(tunable_toy, text: str) -> None:
    _, path = tune(tunable_toy)
    path.write_text(text)
    with pytest.raises(HarnessError, match=r"left\.yaml: .*harness tune"):
        run(tunable_toy)
