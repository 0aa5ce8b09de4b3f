"""The methods of a suite file: installed ones, methods from files, and variants of either.

An entry of `methods:` is a name (`markov`), a file and a name in it (`./my_method.py:Markov`), or a variant:
`{name: weaverec-r8, method: weaverec, settings: {rank: 8}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.errors import HarnessError
from harness.methods.method_file import MethodFile, is_file_reference
from harness.methods.registry import check_known, is_installed
from harness.protocol.suite import Variant
from harness.storage.files import file_digest


class MethodEntry(BaseModel):
    """An entry of `methods:`. A text stands for `{method: <text>}`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

    method: str
    """An installed method, or a class in a file: `./my_method.py:Markov`."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)] | None = None
    """Name of a variant; required with settings."""
    settings: dict[str, Any] = {}
    """Settings that differ from the method's defaults."""

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _name_a_variant(self) -> "MethodEntry":
        if self.settings and self.name is None:
            raise ValueError(f"methods: the variant of {self.method!r} needs a name")
        return self


@dataclass(frozen=True)
class SuiteMethods:
    """What a suite file says of methods.

    Attributes:
        names: the methods of the suite, in order.
        variants: methods that the suite names itself, by name.
        settings: by method, as they are written.
    """

    names: tuple[str, ...]
    variants: dict[str, Variant]
    settings: dict[str, Mapping[str, Any]]


def read_methods(entries: list[MethodEntry], settings: Mapping[str, Mapping[str, Any]], folder: Path) -> SuiteMethods:
    """Resolve the methods of a suite file.

    Args:
        entries: its `methods:`.
        settings: its `settings:`.
        folder: where relative paths of methods' files start.

    Raises:
        HarnessError: an unknown method or file, or a name that is taken; the message starts with the key.
    """
    variants: dict[str, Variant] = {}
    names: list[str] = []
    for entry in entries:
        base = _resolved("methods", entry.method, folder)
        name = entry.name or name_of(base)
        if name in names:
            raise HarnessError(f"methods: {name!r} is listed twice.", "Give each variant a name of its own.")
        names.append(name)
        if entry.name or is_file_reference(base):
            _check_free("methods", name)
            variants[name] = make_variant(base, entry.settings)
    given: dict[str, Mapping[str, Any]] = {}
    for key, values in settings.items():
        if key in variants and name_of(variants[key].method) != key:
            raise HarnessError(f"settings: {key!r} is a variant.", "Write its settings where it is named, in methods.")
        base = variants[key].method if key in variants else _resolved("settings", key, folder)
        name = name_of(base)
        if name in given:
            raise HarnessError(f"settings: {name!r} is listed twice.", "Leave one of them out.")
        if is_file_reference(base):
            _check_free("settings", name)
            variants.setdefault(name, make_variant(base, {}))
        given[name] = values
    return SuiteMethods(tuple(names), variants, given)


def make_variant(method: str, settings: Mapping[str, Any]) -> Variant:
    """A variant of an installed method, or of one in a file as the file is now."""
    digest = file_digest(MethodFile.parse(method, Path()).path) if is_file_reference(method) else None
    return Variant(method, settings, digest)


def name_of(method: str) -> str:
    """A method's name in results: that of an installed one, or `my_method.Markov` of `/path/my_method.py:Markov`."""
    return MethodFile.parse(method, Path()).name if is_file_reference(method) else method


def check_free_name(name: str) -> None:
    """Check that no installed method has a name.

    Raises:
        HarnessError: one has.
    """
    if is_installed(name):
        raise HarnessError(f"{name!r} is the name of an installed method.", "Choose another name.")


def _check_free(key: str, name: str) -> None:
    try:
        check_free_name(name)
    except HarnessError as error:
        raise HarnessError(f"{key}: {error.what}", error.hint) from error


def _resolved(key: str, method: str, folder: Path) -> str:
    """An installed method's name, or the absolute path of a file and a name in it."""
    try:
        if is_file_reference(method):
            return MethodFile.parse(method, folder).reference
        check_known(method)
    except HarnessError as error:
        raise HarnessError(f"{key}: {error.what}", error.hint) from error
    return method
