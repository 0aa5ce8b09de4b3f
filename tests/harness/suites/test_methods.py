"""The methods of a suite file: names, files and variants."""

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
POPULAR = {"name": "markov-popular", "method": "markov", "settings": {"prior": 100}}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Suite]:
    """Load the suite `cdsr` under another name with some keys changed; `suite_plain.py` stands beside it."""
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "suite_plain.py").write_text(METHOD)

    def load_changed(**changes: Any) -> Suite:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", **changes}))
        return load_suite(str(path))

    return load_changed


def test_a_variant_is_a_method_of_its_own(load) -> None:
    suite = load(methods=["markov", POPULAR])
    assert suite.methods == ("markov", "markov-popular")
    assert suite.variants == {"markov-popular": Variant("markov", {"prior": 100.0})}
    assert suite_method(suite, "markov").settings.prior == 1.0
    assert suite_method(suite, "markov-popular").settings.prior == 100.0


def test_a_variant_changes_nothing_of_other_rows(load) -> None:
    plain, more = load(methods=["markov"]), load(methods=["markov", POPULAR])
    fingerprints = {spec.name: spec.fingerprint or "" for spec in plain.domains}
    for scenario in plain.scenarios:
        assert plain.conditions(scenario, fingerprints) == more.conditions(scenario, fingerprints)
    assert plain.settings == more.settings
    assert suite_method(plain, "markov") == suite_method(more, "markov")


def test_a_variant_starts_from_the_settings_that_the_suite_gives_its_method(load) -> None:
    far = {"name": "far", "method": "item-knn", "settings": {"decay": 0.5}}
    settings = suite_method(load(methods=["item-knn", far], settings={"item-knn": {"neighbours": 7}}), "far").settings
    assert (settings.neighbours, settings.decay) == (7, 0.5)


def test_a_variant_has_its_own_tuning_in_which_its_settings_are_fixed(load) -> None:
    far = {"name": "far", "method": "item-knn", "settings": {"decay": 0.5}}
    suite = load(methods=["item-knn", far, POPULAR])
    scenario = suite.scenarios[0]
    base, variant = (suite_method(suite, name) for name in ("item-knn", "far"))
    paths = [tuning_path(suite, scenario, name, m) for name, m in (("item-knn", base), ("far", variant))]
    assert [path.parent.name for path in paths] == ["item-knn", "far"]
    assert set(space_of(suite, "item-knn", base).root) - set(space_of(suite, "far", variant).root) == {"decay"}
    assert method_for(suite, scenario, "far")[1] is None
    # All that can be tuned of `markov` is fixed.
    assert {task.method for task in tuning_tasks(suite, suite.scenarios, suite.methods)} == {"item-knn", "far"}


def test_settings_inside_a_group_are_fixed_too(load) -> None:
    variant = {"name": "short", "method": "target-only", "settings": {"retriever": {"decay": 0.5}}}
    suite = load(methods=[variant])
    assert suite.variants["short"].settings == {"retriever.decay": 0.5}
    space = space_of(suite, "short", suite_method(suite, "short"))
    assert "retriever.decay" not in space.root
    assert "learning_rate" in space.root


def test_methods_from_files_start_at_the_suite_s_folder(load, tmp_path: Path) -> None:
    reference = "./code/suite_plain.py:Plain"
    half = {"name": "half", "method": reference, "settings": {"rate": 0.25}}
    suite = load(methods=["markov", reference, half], settings={reference: {"rate": 0.75}})
    assert suite.methods == ("markov", "suite_plain.Plain", "half")
    assert suite.base_method("half") == f"{tmp_path / 'code' / 'suite_plain.py'}:Plain"
    # No `tuned`: a dataclass with settings is copied.
    assert [suite_method(suite, name).settings.rate for name in suite.methods[1:]] == [0.75, 0.25]
    # Nor does it say which domains it learns from: all are meant.
    task = tuning_tasks(suite, suite.scenarios[:1], ["suite_plain.Plain"])[0]
    assert task.path.stem == "+".join(suite.scenarios[0].domains)
    assert load(methods=[reference], settings={"suite_plain.Plain": {"rate": 0.75}}).settings == suite.settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["markov", {**POPULAR, "name": "item-knn"}]}, "methods: 'item-knn' is the name of an installed"),
        ({"methods": ["markov", {**POPULAR, "name": "recbole.mine"}]}, "methods: 'recbole.mine' is the name of an"),
        ({"methods": [{**POPULAR, "name": "a/b"}]}, 'methods.0.name: found "a/b". It should match pattern'),
        ({"methods": [{**POPULAR, "name": "a" * 101}]}, "It should have at most 100 characters."),
        ({"methods": [POPULAR, POPULAR]}, "methods: 'markov-popular' is listed twice."),
        ({"methods": ["markov", "markov"]}, "methods: 'markov' is listed twice."),
        ({"methods": [{"name": "x", "method": "markow"}]}, "methods: Unknown method 'markow'. Did you mean 'markov'"),
        ({"methods": [{"name": "x"}]}, "methods.0.method: missing. Add it."),
        ({"methods": [{**POPULAR, "setings": {}}]}, "methods.0.setings: there is no such key. Did you mean 'settings'"),
        (
            {"methods": [{"method": "markov", "settings": {"prior": 2}}]},
            "methods: the variant of 'markov' needs a name",
        ),
        (
            {"methods": [{**POPULAR, "settings": {"pror": 1}}]},
            "methods: markov-popular.pror: there is no such setting.",
        ),
        ({"methods": [{**POPULAR, "settings": {"prior": 0}}]}, "methods: markov-popular.prior: found 0. It should be"),
        ({"methods": [{"name": "x", "method": "popularity", "settings": {"a": 1}}]}, "methods: x: the method takes no"),
        ({"methods": [{**POPULAR, "method": "markov-popular"}]}, "methods: Unknown method 'markov-popular'."),
        (
            {"methods": [POPULAR], "settings": {"markov-popular": {"prior": 2}}},
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
def test_wrong_entries_are_refused_in_one_line(load, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        load(**changes)
    assert "mine.yaml: " in str(caught.value)
    assert message in str(caught.value)
