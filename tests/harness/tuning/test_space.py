"""Search spaces: what is drawn lies within them, and bad files are named."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings


@given(low=st.floats(1e-6, 1), width=st.floats(1.5, 1e6), log=st.booleans(), seed=st.integers(0, 1000))
def test_draws_lie_within(low: float, width: float, log: bool, seed: int) -> None:
    high = low * width
    space = Space.model_validate(
        {"x": {"first": low, "low": low, "high": high, "log": log}, "y": {"first": "a", "choices": ["a", "b"]}}
    )
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    found = space.suggest(trial)
    assert low * 0.999 <= found["x"] <= high * 1.001  # four digits
    assert found["y"] in {"a", "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {first: 3}", "x: give either choices, or low and high"),
        ("x: {first: 3, low: 1, high: 4, choices: [3]}", "x: give either choices, or low and high"),
        ("x: {first: 3, choices: [1, 2]}", "x: first: 3 is none of the choices"),
        ("x: {first: 9, low: 1, high: 4}", "x: first: 9 is not between low and high"),
        ("x: {first: 0.0, low: 0, high: 4, log: true}", "x: low must be above 0"),
        ("x: {first: 1, choices: [1], step: 2}", "x.step: Extra inputs"),
        ("x: [", "no valid YAML"),
    ],
)
def test_a_bad_space_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(HarnessError, match=r"bad\.yaml") as caught:
        Space.read(tmp_path / "bad.yaml")
    assert message in str(caught.value)


def test_a_space_that_is_not_there(tmp_path: Path) -> None:
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


def test_dotted_names_lead_into_settings() -> None:
    changed = with_settings(Settings(), {"rate": 0.2, "inner.decay": 0.9, "parameters.size": 128})
    assert changed == Settings(0.2, Inner(0.9), {"size": 128, "kept": 1})


@pytest.mark.parametrize("name", ["none", "inner.none", "rate.none"])
def test_a_name_that_settings_lack(name: str) -> None:
    with pytest.raises(ValueError, match=f"there is no setting '{name}'"):
        with_settings(Settings(), {name: 1})
