"""Settings of methods: which methods take some, how values are checked, and how they replace the defaults."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, get_type_hints, runtime_checkable

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from harness.errors import HarnessError
from harness.methods.api import Method
from harness.tuning.space import Space, read_number

Settings = TypeVar("Settings")

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@runtime_checkable
class TakesSettings(Method, Protocol):
    """A method that replaces its settings itself.

    One that does not, but is a dataclass with a field `settings`, is copied with other settings.
    """

    def tuned(self, chosen: Mapping[str, Any]) -> Method:
        """The same method with some settings replaced; they have been checked against `settings`."""
        ...


@runtime_checkable
class Tunable(Method, Protocol):
    """A method with settings that `harness tune` can choose."""

    @property
    def space(self) -> Space:
        """What may be chosen."""
        ...


def configured(method: Method, chosen: Mapping[str, Any], where: str) -> Method:
    """A method with some settings replaced.

    Args:
        method: the method.
        chosen: see `check_settings`.
        where: where they are written, which messages start with.

    Raises:
        HarnessError: the method takes no settings, or not these; see `check_settings`.
    """
    if not isinstance(method, TakesSettings) and not _can_be_copied(method):
        raise HarnessError(f"{where}: the method takes no settings.", "Leave them out.")
    try:
        if isinstance(method, TakesSettings):
            return method.tuned(check_settings(method.settings, chosen))
        return dataclasses.replace(method, settings=with_settings(method.settings, chosen))  # type: ignore[type-var]
    except HarnessError as error:
        raise HarnessError(f"{where}.{error.what}", error.hint) from error
    except ValueError as error:  # raised by the method itself
        raise HarnessError(f"{where}: {error}.", "Change them.") from error


def _can_be_copied(method: Any) -> bool:
    """Whether a method is a dataclass with a field `settings`, which are some."""
    fields = dataclasses.fields(method) if dataclasses.is_dataclass(method) else ()
    return any(field.name == "settings" for field in fields) and bool(dataclasses.fields(method.settings))


def check_space(method: Method, space: Space, where: str) -> None:
    """Check that a method takes every value of its search space.

    Args:
        method: the method.
        space: what may be chosen.
        where: what messages start with.

    Raises:
        HarnessError: it lacks a setting of the space, or a value is of another type or out of its range.
    """
    for name, choice in space.root.items():
        # Whole numbers of a range are drawn as fractions.
        for value in choice.choices or (choice.first, choice.low, choice.high):
            configured(method, {name: value}, where)


def with_settings(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """A copy of a frozen dataclass with some of its fields replaced.

    Args:
        settings: the dataclass.
        chosen: see `check_settings`.

    Raises:
        HarnessError: see `check_settings`.
    """
    for name, value in check_settings(settings, chosen).items():
        settings = _replaced(settings, name.split("."), value)
    return settings


def check_settings(settings: Any, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against the names, types and ranges of a frozen dataclass.

    Types and ranges are the annotations of its fields, such as `Annotated[float, Gt(0)]`. Values are not converted:
    neither text to a number nor a number to a boolean. Only `1e-3`, which YAML reads as text, becomes a number.

    Args:
        settings: the dataclass.
        chosen: values by name; a dot leads into a mapping or a dataclass: `parameters.hidden_size`. A mapping of
            names to values does the same.

    Returns:
        The values by dotted name.

    Raises:
        HarnessError: a name that the settings lack, or a value of another type or out of its range. The message starts
            with the name.
    """
    checked: dict[str, Any] = {}
    for name, value in chosen.items():
        for dotted, valid in _checked(settings, name, value):
            if dotted in checked:
                raise HarnessError(f"{dotted}: written twice.", "Leave one of them out.")
            checked[dotted] = valid
    return checked


def _checked(settings: Any, name: str, value: Any) -> list[tuple[str, Any]]:
    *groups, last = name.split(".")
    owner, prefix = settings, ""
    for group in groups:
        _field(owner, group, prefix, name)
        owner = owner.get(group, {}) if isinstance(owner, Mapping) else getattr(owner, group)
        prefix += f"{group}."
    hint = _field(owner, last, prefix, name)
    inner = None if isinstance(owner, Mapping) else getattr(owner, last)
    if not dataclasses.is_dataclass(inner):
        return [(name, _valid(hint, value, name))]
    if not isinstance(value, Mapping):
        known = ", ".join(f"{name}.{field.name}" for field in dataclasses.fields(inner))
        raise HarnessError(f"{name}: found {_shown(value)}.", f"It is a group of settings: {known}.")
    return [pair for part, inner in value.items() for pair in _checked(settings, f"{name}.{part}", inner)]


def _field(owner: Any, part: str, prefix: str, name: str) -> Any:
    """The annotation of a setting; the values of a mapping may be anything."""
    if isinstance(owner, Mapping):
        return Any
    known = [f"{prefix}{field.name}" for field in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    if f"{prefix}{part}" not in known:
        unknown = HarnessError.unknown("setting", name, known)
        raise HarnessError(f"{name}: there is no such setting.", unknown.hint if known else "It takes none.")
    try:
        return get_type_hints(type(owner), include_extras=True)[part]
    except NameError as error:
        raise HarnessError(
            f"{name}: its type cannot be resolved: {error}.", "Report it to the method's authors."
        ) from error


def _valid(hint: Any, value: Any, name: str) -> Any:
    if hint is Any:
        value = read_number(value)
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        kind = "finite numbers" if isinstance(error, ValueError) else "numbers, texts, true or false, and lists of them"
        raise HarnessError(f"{name}: found {value}.", f"It should hold {kind}.") from error
    try:
        return TypeAdapter(hint, config=_STRICT).validate_json(text)
    except PydanticUserError as error:
        raise HarnessError(f"{name}: a suite cannot set it: it is of the type {hint}.", "Leave it out.") from error
    except ValidationError as error:
        number = read_number(value)
        if number is not value:
            return _valid(hint, number, name)
        should = error.errors()[0]["msg"].replace("Input should", "It should").rstrip(".")
        raise HarnessError(f"{name}: found {_shown(value)}.", f"{should}.") from error


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _replaced(settings: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    if isinstance(settings, Mapping):
        return {**settings, head: _replaced(settings.get(head, {}), rest, value) if rest else value}
    inner = _replaced(getattr(settings, head), rest, value) if rest else value
    return dataclasses.replace(settings, **{head: inner})
