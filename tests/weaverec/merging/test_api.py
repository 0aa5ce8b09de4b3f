"""What a merging rule is given, and what counts as one."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import torch

from harness.errors import HarnessError
from harness.run.artefact import RunArtefacts, artefact_key
from harness.storage.store import Store
from tests.contexts import make_context
from tests.weaverec.retriever.test_train import BUDGET, data
from weaverec.merging.adamerging import EntropyWeights
from weaverec.merging.api import Component, MergeContext, as_rule, has_parameters
from weaverec.merging.registry import make_rule, rule_names
from weaverec.merging.rules import EqualWeights, Ties, chosen_ties
from weaverec.merging.search import GridSearch
from weaverec.merging.task_vectors import folded
from weaverec.ranker.method import RankerHead
from weaverec.retriever.method import RetrieverHead
from weaverec.retriever.train import ComponentSettings, component

SETTINGS = ComponentSettings(steps=8, batch=40, learning_rate=0.0003)


def context(tmp_path: Path) -> MergeContext:
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    return MergeContext(data("a", ("b",)), RetrieverHead(SETTINGS), 0, "cpu", artefacts)


@dataclass(frozen=True)
class Rule:
    name = "rule"

    def merge(self, components, context):
        return components[0].task_vector


def first(task_vectors):
    return task_vectors[0]


def make_ties():
    return Ties(density=0.5)


def test_a_rule_is_an_object_a_class_a_function_that_makes_one_or_one_of_task_vectors() -> None:
    assert as_rule(Rule()) == as_rule(Rule) == Rule()
    assert as_rule(make_ties) == Ties(density=0.5)
    by_function = as_rule(first)
    assert by_function.name == "first"
    one = Component(("a",), Path("nowhere"))
    one.__dict__["task_vector"] = {"layer": torch.ones(2, 2)}
    assert by_function.merge([one], None) is one.task_vector  # type: ignore[arg-type]
    for other in (3, lambda a, b: a, Path("x")):
        with pytest.raises(HarnessError, match="is not a merging rule"):
            as_rule(other)


def test_only_declared_parameters_are_settings() -> None:
    assert has_parameters(Ties())
    assert not any(has_parameters(rule) for rule in (EqualWeights(), Rule(), chosen_ties(), as_rule(first)))


def test_every_built_in_rule_is_found_by_its_name() -> None:
    for name in rule_names():
        rule, code = make_rule(name)
        assert code.startswith("weaverec.merging.")
        assert rule.name
    with pytest.raises(HarnessError, match="Did you mean 'ties'"):
        make_rule("tie")


def test_losses_are_those_of_training_and_a_trained_component_lowers_them(tmp_path: Path) -> None:
    given = context(tmp_path / "store")
    folder = tmp_path / "component"
    folder.mkdir()
    component(given.data, ("a",), SETTINGS, BUDGET, 0).make(folder, make_context(folder))
    trained = Component(("a",), folder)

    def losses(mix: tuple[str, ...]) -> list[float]:
        return [float(loss.detach()) for loss in islice(given.losses(mix), 3)]

    before = losses(("a",))
    assert before == losses(("a",)) != losses(("a", "b"))
    assert not next(given.losses(("a",))).requires_grad
    with folded(given.model, trained.task_vector) as model:
        assert sum(losses(("a",))) < sum(before)
        weight = model.get_parameter("encoder.layer.0.attention.self.query.weight").requires_grad_()
        (gradient,) = torch.autograd.grad(next(given.losses(("a",))), weight)
        assert gradient.abs().max() > 0
    assert losses(("a",)) == before
    # Validation leaves the model as it was, too.
    assert given.validate({}) != given.validate(trained.task_vector)
    assert losses(("a",)) == before


def test_a_search_has_one_to_six_choices_of_declared_parameters(tmp_path: Path) -> None:
    one = [Component(("a",), tmp_path)]
    for choices in ([], [{"density": 0.1 * i} for i in range(1, 8)]):
        with pytest.raises(HarnessError, match="every rule has the same budget"):
            GridSearch(Ties(), choices).merge(one, context(tmp_path))
    for choice, message in (({"densty": 0.1}, "no such setting"), ({"density": 2.0}, r"density: found 2\.0")):
        with pytest.raises(HarnessError, match=message):
            GridSearch(Ties(), [choice]).merge(one, context(tmp_path))


@dataclass(frozen=True)
class Drawing:
    """A rule that notes a draw."""

    draws: list[float]
    name = "drawing"
    scale: float = 1.0

    def merge(self, components, context):
        self.draws.append(float(context.rng.random()))
        return {}


def test_a_try_of_a_search_does_not_depend_on_the_tries_before(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(MergeContext, "validate", lambda *_: 0.0)
    rule = Drawing([])
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    components = [Component(("a",), tmp_path)]
    search = GridSearch(rule, [{"scale": scale} for scale in (1.0, 2.0, 3.0)])
    given = context(tmp_path / "store")
    search.artefact(components, given).make(tmp_path, make_context(tmp_path))
    search.rule.merge(components, given)
    assert len(rule.draws) == 4
    assert len(set(rule.draws)) == 1


def test_a_component_of_unknown_origin_is_known_by_its_files(tmp_path: Path) -> None:
    search, keys = GridSearch(Ties(), [{"density": 0.1}, {"density": 0.2}]), set()
    for content in (b"one", b"two", b"two"):
        (tmp_path / "adapter_model.safetensors").write_bytes(content)
        keys.add(artefact_key(search.artefact([Component(("a",), tmp_path)], context(tmp_path / "store"))))
    assert len(keys) == 2


def test_weights_by_entropy_are_refused_for_a_ranker(tmp_path: Path) -> None:
    ranker = MergeContext(
        data("a", ("b",)), RankerHead(), 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    )
    with pytest.raises(HarnessError, match="need a softmax over the catalogue"):
        EntropyWeights().merge([Component(("a",), tmp_path)], ranker)
