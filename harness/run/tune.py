"""Tunes one method in one scenario, with as many trials as the suite's budget gives every method."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.api import FitContext, Method, learns_from
from harness.methods.artefact import StepCallback
from harness.protocol.ranks import InvalidScoresError
from harness.protocol.scenario import Scenario
from harness.protocol.split import TrainingData
from harness.protocol.suite import Suite
from harness.run.artefact import RunArtefacts
from harness.run.methods import check_data, check_files, code_of, space_of, suite_method
from harness.run.scenario_data import open_training
from harness.run.workspace import Workspace
from harness.tuning.record import TrialRecord, Tuning, tuning_path
from harness.tuning.space import Space
from harness.tuning.tunable import Tunable, check_space, configured


@dataclass(frozen=True)
class TuningTask:
    """A method to tune in a scenario, for a settings file that other scenarios may share."""

    scenario: Scenario
    method: str
    path: Path

    @property
    def label(self) -> str:
        """For people: `sasrec on beauty`."""
        return f"{self.method} on {self.path.stem}"


def tuning_tasks(suite: Suite, scenarios: Sequence[Scenario], methods: Sequence[str]) -> list[TuningTask]:
    """List the tunings of some methods in some scenarios, each once; methods with nothing to tune have none.

    Raises:
        HarnessError: an unknown method, one that cannot be imported, or one that does not take what its search space
            may choose.
    """
    tasks: dict[Path, TuningTask] = {}
    for name in methods:
        method = suite_method(suite, name)
        if isinstance(method, Tunable) and (space := space_of(suite, name, method)).root:
            check_space(method, space, f"The search space of {name}")
            for scenario in scenarios:
                path = tuning_path(suite, scenario, name, method)
                tasks.setdefault(path, TuningTask(scenario, name, path))
    return list(tasks.values())


def check_tuning(workspace: Workspace, task: TuningTask) -> str | None:
    """The reason why a method cannot be tuned on its scenario's data, or None.

    Raises:
        HarnessError: the scenario's data cannot be split, or a file that the method needs is missing.
    """
    method = suite_method(workspace.suite, task.method)
    check_files(workspace.suite, task.method, method)
    return check_data(task.method, method, open_training(workspace, task.scenario))


#: Seed of the draws of settings, and of the trainings.
TUNING_SEED = 0


def tune_method(workspace: Workspace, scenario: Scenario, name: str, report: StepCallback) -> Tuning:
    """Choose a method's settings by NDCG@10 on the validation events of the target; ties go to the earlier trial.

    The first trial takes the first values of the space; the others are drawn by Optuna's TPE, whose first ten are
    uniform draws that depend on nothing but the seed: so methods with one space try the same settings.
    Trainings are kept in the store, so that a tuning that was stopped resumes.

    Raises:
        HarnessError: bad data, a corrupt artefact, or no trial with finite scores.
    """
    suite, data = workspace.suite, open_training(workspace, scenario)
    method = suite_method(suite, name)
    if not isinstance(method, Tunable):
        raise TypeError(f"method {name} has nothing to tune")
    space = space_of(suite, name, method)
    trials = _run_trials(workspace, method, name, space, data, report)
    scores = [-1.0 if trial.validation is None else trial.validation for trial in trials]
    best = trials[scores.index(max(scores))]
    if best.validation is None:
        raise HarnessError(
            f"No trial of {name} in {scenario.name} gave finite scores.",
            "Narrow the search space, its learning rate first.",
        )
    return Tuning(
        command=f"harness tune --suite {suite.id} --method {name} --scenario {scenario.name}",
        method=name,
        data={d: data.domains[d].identity for d in learns_from(method, scenario.target, scenario.sources)},
        budget=asdict(suite.budget),
        seed=TUNING_SEED,
        space=space.model_dump(mode="json", exclude_defaults=True),
        chosen=best.settings,
        trials=tuple(trials),
        code=code_of(suite, name, method),
    )


def _run_trials(
    workspace: Workspace, method: Method, name: str, space: Space, data: TrainingData, report: StepCallback
) -> list[TrialRecord]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optimiser = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=TUNING_SEED))
    optimiser.enqueue_trial(dict(space.first()))
    budget = workspace.suite.budget
    trials: list[TrialRecord] = []
    for number in range(budget.trials):
        trial = optimiser.ask()
        settings = space.suggest(trial)

        def progress(done: int, total: int, number: int = number) -> None:
            report(number * total + done, budget.trials * total)

        artefacts = RunArtefacts(workspace.store, workspace.device, progress)
        context = FitContext(budget, TUNING_SEED, workspace.device, artefacts)
        started = time.perf_counter()
        try:
            score = validation_ndcg(configured(method, settings, name).fit(data, context), data.target_domain)
            optimiser.tell(trial, score)
        except (FloatingPointError, InvalidScoresError):  # the training diverged
            score = None
            optimiser.tell(trial, state=optuna.trial.TrialState.FAIL)
        trials.append(
            TrialRecord(
                settings=dict(settings),
                validation=score,
                curves={record.label: record.validation for record in artefacts.records},
                steps={record.label: record.steps for record in artefacts.records},
                seconds=round(time.perf_counter() - started, 1),
            )
        )
    return trials
