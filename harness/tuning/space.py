"""Search spaces: the settings that the tuner may choose for a method, read from YAML."""

import math
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, ValidationError, model_validator

from harness.errors import HarnessError
from harness.storage.yaml_file import read_yaml

Value = bool | int | float | str

#: YAML reads `1e-3` as text: its numbers with an exponent need a dot and a sign.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def read_number(value: Any) -> Any:
    """The number written in a text with an exponent, such as `1e-3`; anything else unchanged."""
    if not isinstance(value, str) or not _EXPONENT.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


_Number = Annotated[float, BeforeValidator(read_number)]
_Value = Annotated[Value, BeforeValidator(read_number)]


class Choice(BaseModel):
    """One setting: a range of numbers, or a list of values.

    Attributes:
        first: the value of the first trial, and of a method that is not tuned.
        low: smallest number of a range.
        high: largest.
        log: draw uniformly on a log scale.
        choices: the values of a list.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    first: _Value
    low: _Number | None = None
    high: _Number | None = None
    log: bool = False
    choices: Annotated[tuple[_Value, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> "Choice":
        if bool(self.choices) == (self.low is not None and self.high is not None):
            raise ValueError("give either choices, or low and high")
        if self.choices:
            if self.first not in self.choices:
                raise ValueError(f"first: {self.first!r} is none of the choices")
        elif isinstance(self.first, str) or not self._low <= self.first <= self._high:
            raise ValueError(f"first: {self.first!r} is not between low and high")
        elif self.log and self._low <= 0:
            raise ValueError("low must be above 0 on a log scale")
        return self

    @property
    def _low(self) -> float:
        return -math.inf if self.low is None else self.low

    @property
    def _high(self) -> float:
        return math.inf if self.high is None else self.high

    def suggest(self, trial: Any, name: str) -> Value:
        """The value that an Optuna trial takes."""
        value: Value = (
            trial.suggest_categorical(name, list(self.choices))
            if self.choices
            # Four digits are precise enough, and short enough to type again.
            else float(f"{trial.suggest_float(name, self._low, self._high, log=self.log):.4g}")
        )
        return value


class Space(RootModel[dict[str, Choice]]):
    """Settings by name; a dot leads into a mapping: `parameters.hidden_size`."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, path: Path) -> "Space":
        """Read a space.

        Raises:
            HarnessError: no such file, or it is not valid; the message names the entry.
        """
        try:
            return cls.model_validate(read_yaml(path))
        except OSError as error:
            raise HarnessError(f"Cannot read the search space {path}: {error.strerror}.", "Check the path.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ").rstrip(".")
            raise HarnessError(f"{path}: {where}: {message}.", "Fix the file.") from error

    @classmethod
    def of_package(cls, package: str, name: str) -> "Space":
        """Read `spaces/<name>.yaml` of an installed package."""
        return cls.read(Path(str(files(package))) / "spaces" / f"{name}.yaml")

    def first(self) -> Mapping[str, Value]:
        """The settings of the first trial."""
        return {name: choice.first for name, choice in self.root.items()}

    def suggest(self, trial: Any) -> Mapping[str, Value]:
        """The settings of an Optuna trial."""
        return {name: choice.suggest(trial, name) for name, choice in self.root.items()}
