"""Search spaces and settings: sampled values are in range; invalid files and values are refused."""

import math
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import optuna
import pytest
from annotated_types import Ge, Gt, Le
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.methods.registry import make_method
from harness.tuning.space import Space
from harness.tuning.tunable import check_settings, check_space, configured, with_settings


@given(low=st.floats(1e-6, 1), width=st.floats(1.5, 1e6), log=st.booleans(), seed=st.integers(0, 1000))
def test_sampled_values_are_in_range(low: float, width: float, log: bool, seed: int) -> None:
    high = low * width
    space = Space.model_validate(
        {"x": {"first": low, "low": low, "high": high, "log": log}, "y": {"first": "a", "choices": ["a", "b"]}}
    )
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    values = space.suggest(trial)
    assert low * 0.999 <= values["x"] <= high * 1.001  # rounded to four digits
    assert values["y"] in {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {first: 3}", "x: give either choices, or low and high"),
        ("x: {first: 3, low: 1, high: 4, choices: [3]}", "x: give either choices, or low and high"),
        ("x: {first: 3, choices: [1, 2]}", "x: first: 3 is none of the choices"),
        ("x: {first: 9, low: 1, high: 4}", "x: first: 9 is not between low and high"),
        ("x: {first: 0.0, low: 0, high: 4, log: true}", "x: low must be above 0"),
        ("x: {first: 1, choices: [1], step: 2}", "x.step: Extra inputs"),
        ("x: [", "not valid YAML"),
    ],
)
def test_an_invalid_space_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(HarnessError, match=r"bad\.yaml") as raised:
        Space.read(tmp_path / "bad.yaml")
    assert message in str(raised.value)


def test_a_missing_space_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"Cannot read the search space .*none\.yaml"):
        Space.read(tmp_path / "none.yaml")


@dataclass(frozen=True)
class Inner:
    decay: float = 0.5


@dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    inner: Inner = field(default_factory=Inner)
    parameters: dict[str, Any] = field(default_factory=lambda: {"size": 64, "kept": 1})


def test_dotted_names_set_nested_settings() -> None:
    changed = with_settings(Settings(), {"rate": 0.2, "inner.decay": 0.9, "parameters.size": 128})
    assert changed == Settings(0.2, Inner(0.9), {"size": 128, "kept": 1})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rat", "Did you mean 'rate'"),
        ("inner.decya", "Did you mean 'inner.decay'"),
        ("rate.none", "It takes none."),
        ("none", "Known: "),
    ],
)
def test_unknown_settings_are_refused_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(HarnessError, match=f"^{name}: there is no such setting") as raised:
        with_settings(Settings(), {name: 1})
    assert hint in raised.value.hint


def test_a_group_of_settings_may_be_a_mapping() -> None:
    assert with_settings(Settings(), {"inner": {"decay": 0.9}}) == with_settings(Settings(), {"inner.decay": 0.9})
    with pytest.raises(HarnessError, match=r"inner\.decay: written twice"):
        check_settings(Settings(), {"inner": {"decay": 0.9}, "inner.decay": 0.8})
    with pytest.raises(HarnessError, match=r"inner: found 3\. It is a group of settings: inner\.decay\."):
        check_settings(Settings(), {"inner": 3})


@dataclass(frozen=True)
class Ranged:
    rate: Annotated[float, Gt(0), Le(1)] = 0.5
    size: Annotated[int, Ge(1)] = 8
    on: bool = False
    kind: Literal["a", "b"] = "a"
    name: str | None = None
    widths: tuple[int, ...] = ()
    free: Any = None


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"rate": 1}, {"rate": 1.0}),
        ({"rate": "1e-3"}, {"rate": 0.001}),  # how YAML reads it
        ({"size": "1e3"}, {"size": 1000}),
        ({"name": "1e-3"}, {"name": "1e-3"}),  # the setting is a text
        ({"free": "1e-3"}, {"free": 0.001}),
        ({"name": None}, {"name": None}),
        ({"widths": [3, 4]}, {"widths": (3, 4)}),
        ({"on": True, "kind": "b"}, {"on": True, "kind": "b"}),
    ],
)
def test_valid_values_are_converted(chosen: dict[str, Any], expected: dict[str, Any]) -> None:
    checked = check_settings(Ranged(), chosen)
    assert checked == expected
    assert [type(value) for value in checked.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", 0, "rate: found 0. It should be greater than 0."),
        ("rate", -0.1, "rate: found -0.1. It should be greater than 0."),
        ("rate", 2, "rate: found 2. It should be less than or equal to 1."),
        ("rate", "-1e-3", "rate: found -0.001. It should be greater than 0."),
        ("rate", "0.5", 'rate: found "0.5". It should be a valid number.'),
        ("rate", "fast", 'rate: found "fast". It should be a valid number.'),
        ("rate", True, "rate: found true. It should be a valid number."),
        ("rate", None, "rate: found null. It should be a valid number."),
        ("rate", math.nan, "rate: found nan. It should hold finite numbers."),
        ("free", [math.inf], "free: found [inf]. It should hold finite numbers."),
        ("rate", "1e999", "rate: found inf. It should hold finite numbers."),
        ("size", 0, "size: found 0. It should be greater than or equal to 1."),
        ("size", 1.5, "size: found 1.5. It should be a valid integer."),
        ("size", True, "size: found true. It should be a valid integer."),
        ("size", "1e-3", "size: found 0.001. It should be a valid integer."),
        ("on", 1, "on: found 1. It should be a valid boolean."),
        ("on", "yes", 'on: found "yes". It should be a valid boolean.'),
        ("kind", "c", "kind: found \"c\". It should be 'a' or 'b'."),
        ("name", 3, "name: found 3. It should be a valid string."),
        ("widths", [1, "x"], 'widths: found [1, "x"]. It should be a valid integer.'),
        ("free", date(2020, 1, 1), "free: found 2020-01-01. It should hold numbers, texts"),
        ("free", {1}, "free: found {1}. It should hold numbers, texts"),
    ],
)
def test_invalid_values_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(HarnessError) as raised:
        check_settings(Ranged(), {name: value})
    assert str(raised.value).startswith(message)


@settings(deadline=None, max_examples=50)
@given(value=st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
def test_any_value_has_the_declared_type_or_is_refused(value: Any) -> None:
    for name, kinds in {"rate": float, "size": int, "on": bool, "kind": str, "name": (str, type(None))}.items():
        try:
            (checked,) = check_settings(Ranged(), {name: value}).values()
        except HarnessError as error:
            assert str(error).startswith(f"{name}: found ")  # noqa: PT017
        else:
            assert isinstance(checked, kinds)
            assert isinstance(value, bool) == (name == "on")


def test_a_setting_of_an_unsupported_type_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        space: Path | np.random.Generator | None = None

    with pytest.raises(HarnessError, match="space: a suite cannot set it"):
        check_settings(Odd(), {"space": 1})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"prior": {"first": 1.0, "low": 0.0, "high": 2.0}}, "Space.prior: found 0.0. It should be greater than 0."),
        ({"prior": {"first": "x", "choices": ["x"]}}, 'Space.prior: found "x". It should be a valid number.'),
        ({"pror": {"first": 1.0, "choices": [1.0]}}, "Space.pror: there is no such setting. Did you mean 'prior'?"),
    ],
)
def test_a_space_with_invalid_values_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError) as raised:
        check_space(make_method("markov"), Space.model_validate(space), "Space")
    assert message in str(raised.value)


def test_a_dataclass_method_needs_no_code_to_take_settings() -> None:
    @dataclass(frozen=True)
    class Plain:
        settings: Ranged = field(default_factory=Ranged)

        def fit(self, data, context):
            raise NotImplementedError

    assert configured(Plain(), {"rate": 0.25, "size": 3}, "here").settings == Ranged(rate=0.25, size=3)
    with pytest.raises(HarnessError, match=r"^here\.rat: there is no such setting\. Did you mean 'rate'"):
        configured(Plain(), {"rat": 0.25}, "here")


def test_settings_for_a_method_without_any_are_refused() -> None:
    with pytest.raises(HarnessError, match=r"^here: the method takes no settings"):
        configured(make_method("popularity"), {"rate": 1}, "here")
