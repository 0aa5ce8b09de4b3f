"""What a method must say for the tuner to choose its settings."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from harness.method import Method
from harness.tuning.space import Space

Settings = TypeVar("Settings")


@runtime_checkable
class Tunable(Protocol):
    """A method with settings to choose."""

    @property
    def space(self) -> Space:
        """What may be chosen."""
        ...

    def tuned(self, chosen: Mapping[str, Any]) -> Method:
        """The same method with settings from its space."""
        ...

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains that the method looks at, target first: scenarios in which they are the same share settings."""
        ...


def with_settings(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """A frozen dataclass with some of its fields replaced.

    Args:
        settings: the dataclass.
        chosen: values by name; a dot leads into a mapping or a dataclass: `parameters.hidden_size`.

    Raises:
        ValueError: a name that the settings do not have.
    """
    for name, value in chosen.items():
        settings = _replaced(settings, name.split("."), value, name)
    return settings


def _replaced(settings: Any, path: list[str], value: Any, name: str) -> Any:
    head, *rest = path
    if isinstance(settings, Mapping):
        return {**settings, head: _replaced(settings.get(head, {}), rest, value, name) if rest else value}
    if not dataclasses.is_dataclass(settings) or head not in {field.name for field in dataclasses.fields(settings)}:
        raise ValueError(f"there is no setting {name!r}")
    inner = _replaced(getattr(settings, head), rest, value, name) if rest else value
    return dataclasses.replace(settings, **{head: inner})  # type: ignore[type-var]
