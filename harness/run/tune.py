"""Tuning one method in one scenario: as many trials as the suite's budget gives every method."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.evaluation.rank import validation_ndcg
from harness.methods.api import FitContext, learns_from
from harness.methods.artefact import StepCallback
from harness.protocol.ranks import InvalidScoresError
from harness.protocol.scenario import Scenario, Suite
from harness.run.artefact import RunArtefacts
from harness.run.methods import check_data, check_files, code_of, space_of, suite_method
from harness.run.splits import Domains, open_training
from harness.storage.store import Store
from harness.tuning.record import TrialRecord, Tuning, tuning_path
from harness.tuning.tunable import Tunable, check_space, configured


@dataclass(frozen=True)
class Study:
    """One tuning to be done: of a method in a scenario, for a file that other scenarios may share."""

    scenario: Scenario
    method: str
    path: Path

    @property
    def label(self) -> str:
        """For people: `sasrec on beauty`."""
        return f"{self.method} on {self.path.stem}"


def studies_of(suite: Suite, scenarios: Sequence[Scenario], methods: Sequence[str]) -> list[Study]:
    """The studies of some methods in some scenarios, each once; methods with nothing to tune have none.

    Raises:
        HarnessError: an unknown method, one that cannot be imported, or one that does not take what its search space
            may choose.
    """
    found: dict[Path, Study] = {}
    for name in methods:
        method = suite_method(suite, name)
        if isinstance(method, Tunable) and (space := space_of(suite, name, method)).root:
            check_space(method, space, f"The search space of {name}")
            for scenario in scenarios:
                path = tuning_path(suite, scenario, name, method)
                found.setdefault(path, Study(scenario, name, path))
    return list(found.values())


def check_study(suite: Suite, task: Study, domains: Domains) -> str | None:
    """Why a study cannot be made on its scenario's data; None where nothing speaks against it.

    Raises:
        HarnessError: the scenario's data cannot be split, or a file that the method needs is not there.
    """
    method = suite_method(suite, task.method)
    check_files(suite, task.method, method)
    return check_data(task.method, method, open_training(suite, task.scenario, domains))


#: Seed of the draws of settings, and of the trainings in a study.
TUNING_SEED = 0


def study(
    suite: Suite, scenario: Scenario, name: str, domains: Domains, store: Store, device: str, report: StepCallback
) -> Tuning:
    """Chooses a method's settings by NDCG@10 on the validation events of the target; ties go to the earlier trial.

    The first trial takes the first values of the space; the others are drawn by Optuna's TPE, whose first ten are
    uniform draws that depend on nothing but the seed: so methods with one space try the same settings.
    Trainings are kept in the store, so that a study that was stopped goes on where it was.

    Raises:
        HarnessError: bad data, a corrupt artefact, or no trial with finite scores.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = open_training(suite, scenario, domains)
    method = suite_method(suite, name)
    if not isinstance(method, Tunable):
        raise TypeError(f"method {name} has nothing to tune")
    space = space_of(suite, name, method)
    optimiser = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=TUNING_SEED))
    optimiser.enqueue_trial(dict(space.first()))
    budget = suite.budget
    trials: list[TrialRecord] = []
    for number in range(budget.trials):
        trial = optimiser.ask()
        settings = space.suggest(trial)

        def progress(done: int, total: int, number: int = number) -> None:
            report(number * total + done, budget.trials * total)

        artefacts = RunArtefacts(store, device, progress)
        started = time.perf_counter()
        try:
            scorer = configured(method, settings, name).fit(data, FitContext(budget, TUNING_SEED, device, artefacts))
            score = validation_ndcg(scorer, data.target_domain)
            optimiser.tell(trial, score)
        except (FloatingPointError, InvalidScoresError):  # it diverged
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
    scores = [-1.0 if trial.validation is None else trial.validation for trial in trials]
    best = scores.index(max(scores))
    if trials[best].validation is None:
        raise HarnessError(
            f"No trial of {name} in {scenario.name} came to finite scores.",
            "Narrow the search space, its learning rate first.",
        )
    return Tuning(
        command=f"harness tune --suite {suite.id} --method {name} --scenario {scenario.name}",
        method=name,
        data={d: data.domains[d].identity for d in learns_from(method, scenario.target, scenario.sources)},
        budget=asdict(budget),
        seed=TUNING_SEED,
        space=space.model_dump(mode="json", exclude_defaults=True),
        chosen=trials[best].settings,
        trials=tuple(trials),
        code=code_of(suite, name, method),
    )
