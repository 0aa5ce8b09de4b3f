"""`harness reproduce`: what is equal and what is not is told, for methods of any kind."""

import dataclasses
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from harness.cli.reproduce import explain
from harness.errors import HarnessError
from harness.methods.api import DotProduct, NoSettings
from harness.methods.artefact import Artefact
from harness.results.files import ranks_path, read_result
from harness.results.reproduction import Reproduction, read_reproduction, write_reproduction
from harness.run.reproduce import ReproducedRun, reproduce
from harness.storage.files import file_digest
from harness.training.record import TrainingRecord


@dataclass(frozen=True)
class ShiftSettings:
    shift: int = 0


@dataclass(frozen=True)
class Trained:
    """Scores items by a random vector that is trained once; `noise` makes each training another."""

    settings: ShiftSettings = ShiftSettings()

    def artefacts(self, data, budget, seed):
        inputs = {"seed": seed, **dataclasses.asdict(self.settings)}
        return [Artefact("toy", f"toy, seed {seed}", inputs, partial(train, seed + self.settings.shift))]

    def fit(self, data, context):
        (artefact,) = self.artefacts(data, context.budget, context.seed)
        weights = np.load(context.artefacts.get_or_train(artefact) / "weights.npy")
        n = len(data.target_domain.catalogue)
        return DotProduct(weights[:n, None], lambda histories: np.ones((len(histories), 1), dtype=np.float32))


def train(seed, folder, context):
    np.save(folder / "weights.npy", np.random.default_rng(seed).random(40).astype(np.float32))
    return TrainingRecord((0.25, 0.5), 20, 10, 40, {})


class Noisy:
    """Gives other scores each time."""

    settings = NoSettings()

    def fit(self, data, context):
        items = np.random.default_rng().random((len(data.target_domain.catalogue), 1)).astype(np.float32)
        return DotProduct(items, lambda histories: np.ones((len(histories), 1), dtype=np.float32))


@pytest.fixture
def again(toy: SimpleNamespace):
    """Run a method on the toy suite, and make its first result again."""

    def run(method: str, change=lambda path: None, **options) -> tuple[Path, ReproducedRun]:
        toy.run(method, scenarios=["left-from-right"])
        path = toy.out / "results" / "toy" / "v1" / "left-from-right" / f"{method}-seed0.json"
        change(path)
        suite = options.pop("suite", toy.suite)
        return path, reproduce(path, suite=suite, data_dir=toy.cache, jobs=0, console=Console(quiet=True), **options)

    return run


def test_a_run_without_training_is_made_again(again) -> None:
    path, made = again("popularity")
    record = made.record
    assert (record.verdict, record.same_data, record.differences, record.artefacts) == ("equal", True, {}, ())
    assert {match.equal_users for match in record.ranks.values()} == {1.0}
    assert {match.largest_rank_difference for match in record.ranks.values()} == {0.0}
    assert (record.lists.equal_users, record.lists.common_items) == (1.0, 1.0)
    assert record.confirms(made.first)
    assert explain(record)[0].startswith("popularity on left-from-right, seed 0, of toy/v1: equal (tolerance 0.001")
    assert read_reproduction(path, made.first) is None
    output_dir = path.parents[4]
    assert write_reproduction(record, output_dir).parent == output_dir / "reproduced" / "toy" / "v1" / "left-from-right"
    assert read_reproduction(path, made.first) == record


def test_trainings_are_made_again_or_taken_from_a_cache_which_is_told(again, toy: SimpleNamespace) -> None:
    toy.add("trained", Trained)
    _, made = again("trained")
    (artefact,) = made.record.artefacts
    assert (artefact.trained, artefact.same_key, artefact.same_steps) == (True, True, True)
    assert artefact.largest_validation_difference == 0
    assert made.record.confirms(made.first)
    _, cached = again("trained", cache_dir=toy.cache)
    (artefact,) = cached.record.artefacts
    assert (artefact.trained, artefact.same_key, cached.record.verdict) == (False, True, "equal")
    assert not cached.record.confirms(cached.first), "scored again, but not trained again"
    assert "from the cache" in "\n".join(explain(cached.record))
    with pytest.raises(HarnessError, match="is no cache"):
        again("trained", cache_dir=toy.out)


def test_the_settings_of_the_result_are_used_and_not_those_of_today(again, toy: SimpleNamespace) -> None:
    toy.add("trained", Trained)
    today = toy.suite
    toy.suite = dataclasses.replace(today, settings={"trained": {"shift": 3}})
    _, made = again("trained", suite=today)
    assert (made.first.settings, made.again.settings) == ({"shift": 3}, {"shift": 3})
    assert made.record.verdict == "equal"


def test_other_scores_are_different(again, toy: SimpleNamespace) -> None:
    toy.add("noisy", Noisy)
    _, made = again("noisy")
    record = made.record
    assert record.verdict == "different"
    assert record.ranks["full"].equal_users < 0.5
    assert record.ranks["full"].largest_rank_difference >= 1
    first, table = read_result(toy.out / "results" / made.first.path)
    metrics, others = made.first.candidates["full"].metrics["all"], made.again.candidates["full"].metrics["all"]
    expected = max(abs(metrics[name] - others[name]) for name in metrics)
    assert record.ranks["full"].largest_metric_difference == pytest.approx(expected, abs=1e-12)
    assert not record.confirms(first)
    _, lenient = again("noisy", tolerance=1.0)
    assert lenient.record.verdict == "within tolerance"
    assert not lenient.record.confirms(lenient.first), "the badge has a tolerance of its own"
    assert len(table.users) == 30


def edit(**changes):
    def change(path: Path) -> None:
        content = json.loads(path.read_text())
        for dotted, value in changes.items():
            *parents, last = dotted.split("__")
            owner = content
            for parent in parents:
                owner = owner[parent]
            owner[last] = value
        path.write_text(json.dumps(content))

    return change


def test_what_differs_is_told(again) -> None:
    change = edit(
        packages__numpy="1.0",
        provenance__hardware__cpu="abacus",
        code__source="0" * 64,
        data__right__fingerprint="1" * 64,
    )
    _, made = again("popularity", change)
    assert made.record.differences.keys() == {"package numpy", "machine: cpu", "code", "data: right"}
    assert made.record.differences["machine: cpu"].startswith("abacus then, ")
    assert (made.record.same_data, made.record.verdict) == (False, "different")


def test_a_record_must_agree_with_itself_and_with_its_result(again) -> None:
    path, made = again("popularity")
    fields = made.record.model_dump(mode="json")
    for changes in ({"verdict": "different"}, {"same_data": False}, {"tolerance": -1}, {"award": 1}, {"ranks": {}}):
        with pytest.raises(ValidationError):
            Reproduction.model_validate({**fields, **changes})
    target = write_reproduction(made.record, path.parents[4])
    target.write_text(target.read_text().replace('"equal"', '"different"'))
    with pytest.raises(HarnessError, match=r"popularity-seed0\.json: .*is not what the figures say"):
        read_reproduction(path, made.first)
    other = made.first.model_copy(update={"seed": 5})
    assert not made.record.confirms(other)


def test_what_cannot_be_made_again_is_refused_in_one_line(again, toy: SimpleNamespace, tmp_path: Path) -> None:
    path, made = again("popularity")
    options = {"data_dir": toy.cache, "jobs": 0, "console": Console(quiet=True)}
    with pytest.raises(HarnessError, match="Unknown suite 'toy'"):
        reproduce(path, **options)
    with pytest.raises(HarnessError, match="is of toy/v1, not of toy/v2"):
        reproduce(path, suite=dataclasses.replace(toy.suite, version=2), **options)
    with pytest.raises(HarnessError, match="is of popularity, not of markov"):
        reproduce(path, suite=toy.suite, method="markov", **options)
    fewer = dataclasses.replace(toy.suite, scenarios=toy.suite.scenarios[1:])
    with pytest.raises(HarnessError, match="left-from-right"):
        reproduce(path, suite=fewer, **options)
    files = {"files": {"full": "0"}, "lists": False, "list_length": None, "missing_users": 0, "other_users": 0}
    edit(outside={**files, "history_items": 0})(path)
    with pytest.raises(HarnessError, match="was scored outside"):
        reproduce(path, suite=toy.suite, **options)
    assert file_digest(ranks_path(path)) == made.first.ranks_sha256
