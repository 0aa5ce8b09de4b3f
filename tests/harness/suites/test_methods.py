"""The methods of a suite file: installed ones, files and variants."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from harness.protocol.suite import Suite, Variant
from harness.run.methods import method_for, space_of, suite_method
from harness.run.tune import tuning_tasks
from harness.suites import load_suite
from harness.tuning.record import tuning_path

METHOD = """
from dataclasses import dataclass, field
from harness.tuning.space import Space


@dataclass(frozen=True)
class Settings:
    rate: float = 0.5


@dataclass(frozen=True)
class Plain:
    settings: Settings = field(default_factory=Settings)
    space = Space.model_validate({"rate": {"first": 0.5, "low": 0.0, "high": 1.0}})

    def fit(self, data, context):
        raise NotImplementedError
"""
VARIANT = {"name": "markov-popular", "method": "markov", "settings": {"prior": 100}}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Suite]:
    """Load a copy of the suite `cdsr` with changed keys; `code/suite_plain.py` is beside its file."""
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "suite_plain.py").write_text(METHOD)

    def load_changed(**changes: Any) -> Suite:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", **changes}))
        return load_suite(str(path))

    return load_changed


def test_a_variant_is_a_separate_method(load) -> None:
    suite = load(methods=["markov", VARIANT])
    assert suite.methods == ("markov", "markov-popular")
    assert suite.variants == {"markov-popular": Variant("markov", {"prior": 100.0})}
    assert suite_method(suite, "markov").settings.prior == 1.0
    assert suite_method(suite, "markov-popular").settings.prior == 100.0


def test_a_variant_does_not_change_other_methods_or_conditions(load) -> None:
    plain, extended = load(methods=["markov"]), load(methods=["markov", VARIANT])
    fingerprints = {spec.name: spec.fingerprint or "" for spec in plain.domains}
    for scenario in plain.scenarios:
        assert plain.conditions(scenario, fingerprints) == extended.conditions(scenario, fingerprints)
    assert plain.settings == extended.settings
    assert suite_method(plain, "markov") == suite_method(extended, "markov")


def test_a_variant_starts_from_the_suite_s_settings_of_its_base(load) -> None:
    far = {"name": "far", "method": "item-knn", "settings": {"decay": 0.5}}
    settings = suite_method(load(methods=["item-knn", far], settings={"item-knn": {"neighbours": 7}}), "far").settings
    assert (settings.neighbours, settings.decay) == (7, 0.5)


def test_a_variant_is_tuned_separately_with_its_settings_fixed(load) -> None:
    far = {"name": "far", "method": "item-knn", "settings": {"decay": 0.5}}
    suite = load(methods=["item-knn", far, VARIANT])
    scenario = suite.scenarios[0]
    base, variant = (suite_method(suite, name) for name in ("item-knn", "far"))
    paths = [tuning_path(suite, scenario, name, m) for name, m in (("item-knn", base), ("far", variant))]
    assert [path.parent.name for path in paths] == ["item-knn", "far"]
    assert set(space_of(suite, "item-knn", base).root) - set(space_of(suite, "far", variant).root) == {"decay"}
    assert method_for(suite, scenario, "far")[1] is None
    # The variant of `markov` fixes every setting that can be tuned.
    assert {task.method for task in tuning_tasks(suite, suite.scenarios, suite.methods)} == {"item-knn", "far"}


def test_a_variant_fixes_nested_settings(load) -> None:
    variant = {"name": "short", "method": "target-only", "settings": {"retriever": {"decay": 0.5}}}
    suite = load(methods=[variant])
    assert suite.variants["short"].settings == {"retriever.decay": 0.5}
    space = space_of(suite, "short", suite_method(suite, "short"))
    assert "retriever.decay" not in space.root
    assert "learning_rate" in space.root


def test_method_files_are_relative_to_the_suite_s_folder(load, tmp_path: Path) -> None:
    reference = "./code/suite_plain.py:Plain"
    half = {"name": "half", "method": reference, "settings": {"rate": 0.25}}
    suite = load(methods=["markov", reference, half], settings={reference: {"rate": 0.75}})
    assert suite.methods == ("markov", "suite_plain.Plain", "half")
    assert suite.base_method("half") == f"{tmp_path / 'code' / 'suite_plain.py'}:Plain"
    # Without `tuned`, the dataclass is copied with new settings.
    assert [suite_method(suite, name).settings.rate for name in suite.methods[1:]] == [0.75, 0.25]
    # Without `learns_from`, it learns from all domains.
    task = tuning_tasks(suite, suite.scenarios[:1], ["suite_plain.Plain"])[0]
    assert task.path.stem == "+".join(suite.scenarios[0].domains)
    assert load(methods=[reference], settings={"suite_plain.Plain": {"rate": 0.75}}).settings == suite.settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["markov", {**VARIANT, "name": "item-knn"}]}, "methods: 'item-knn' is the name of an installed"),
        ({"methods": ["markov", {**VARIANT, "name": "recbole.mine"}]}, "methods: 'recbole.mine' is the name of an"),
        ({"methods": [{**VARIANT, "name": "a/b"}]}, 'methods.0.name: found "a/b". It should match pattern'),
        ({"methods": [{**VARIANT, "name": "a" * 101}]}, "It should have at most 100 characters."),
        ({"methods": [VARIANT, VARIANT]}, "methods: 'markov-popular' is listed twice."),
        ({"methods": ["markov", "markov"]}, "methods: 'markov' is listed twice."),
        ({"methods": [{"name": "x", "method": "markow"}]}, "methods: Unknown method 'markow'. Did you mean 'markov'"),
        ({"methods": [{"name": "x"}]}, "methods.0.method: missing. Add it."),
        ({"methods": [{**VARIANT, "setings": {}}]}, "methods.0.setings: there is no such key. Did you mean 'settings'"),
        ({"more_methods": [{**VARIANT, "setings": {}}]}, "more_methods.0.setings: there is no such key. Did you mean"),
        (
            {"methods": [{"method": "markov", "settings": {"prior": 2}}]},
            "methods: the variant of 'markov' needs a name",
        ),
        (
            {"methods": [{**VARIANT, "settings": {"pror": 1}}]},
            "methods: markov-popular.pror: there is no such setting.",
        ),
        ({"methods": [{**VARIANT, "settings": {"prior": 0}}]}, "methods: markov-popular.prior: found 0. It should be"),
        ({"methods": [{"name": "x", "method": "popularity", "settings": {"a": 1}}]}, "methods: x: the method takes no"),
        ({"methods": [{**VARIANT, "method": "markov-popular"}]}, "methods: Unknown method 'markov-popular'."),
        (
            {"methods": [VARIANT], "settings": {"markov-popular": {"prior": 2}}},
            "settings: 'markov-popular' is a variant.",
        ),
        ({"methods": ["./code/none.py:Plain"]}, "methods: ./code/none.py:Plain: there is no file"),
        ({"methods": ["./code/suite_plain.py"]}, "methods: ./code/suite_plain.py: a method from a file needs the name"),
        (
            {"methods": ["markov"], "settings": {"./code/none.py:Plain": {}}},
            "settings: ./code/none.py:Plain: there is no",
        ),
        (
            {"methods": ["markov"], "settings": {"./code/suite_plain.py:Plain": {"rat": 1}}},
            "settings.suite_plain.Plain.rat: there is no such setting. Did you mean 'rate'",
        ),
        ({"methods": [3]}, "methods.0: found 3. It should be a mapping of keys to values."),
    ],
)
def test_wrong_entries_give_a_one_line_error(load, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError) as error:
        load(**changes)
    assert "mine.yaml: " in str(error.value)
    assert message in str(error.value)
