"""Check parameters of RecBole's models against the defaults in RecBole's own configuration files."""

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from baselines.recbole_models.building import RecBoleSettings
from harness.errors import HarnessError
from harness.tuning.space import read_number


def check_parameters(settings: RecBoleSettings) -> None:
    """Check the settings that their types cannot check. RecBole itself ignores unknown entries.

    Raises:
        HarnessError: a stride that leaves out targets, an entry that the model does not have, or a value of another
            type than its default; the message starts with the setting.
    """
    if settings.stride > settings.max_length:
        raise HarnessError(
            f"stride: found {settings.stride}.", f"It should be at most max_length, {settings.max_length}: set both."
        )
    known = _defaults(settings.model)
    for name, value in settings.parameters.items():
        if name not in known:
            unknown = HarnessError.unknown("parameter", name, known)
            raise HarnessError(f"parameters.{name}: RecBole's {settings.model} has no such parameter.", unknown.hint)
        default = known[name]
        if None not in (default, value) and _type_of(value) is not _type_of(default):
            raise HarnessError(
                f"parameters.{name}: found {json.dumps(value)}.",
                f"It should have the type of RecBole's default, {json.dumps(default)}.",
            )


def _type_of(value: Any) -> type:
    # Numbers may be written with or without a fraction; `True` is not a number.
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


@cache
def _defaults(model: str) -> Mapping[str, Any]:
    """RecBole's entries and defaults. Its files are read without importing it, which takes seconds."""
    spec = importlib.util.find_spec("recbole")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "properties" if spec else Path()
    defaults: dict[str, Any] = {}
    for path in (folder / "overall.yaml", folder / "dataset" / "sample.yaml", folder / "model" / f"{model}.yaml"):
        if path.is_file():
            entries = yaml.safe_load(path.read_bytes()) or {}
            defaults.update({name: read_number(value) for name, value in entries.items()})
    return defaults
