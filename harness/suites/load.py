"""Reads suite files: YAML, validated, and turned into the protocol's plain data."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import HarnessError, UnavailableError
from harness.methods.registry import make_method
from harness.protocol.candidate_names import find_candidate_set
from harness.protocol.scenario import Scenario
from harness.protocol.suite import Budget, Suite
from harness.storage.yaml_file import read_yaml
from harness.suites.file import BudgetFile, ScenarioFile, SuiteFile
from harness.suites.methods import MethodEntry, SuiteMethods, read_methods
from harness.tuning.tunable import check_settings, configured

_FOLDER = Path(__file__).parent


def suite_names() -> list[str]:
    """Names of the shipped suites, without versions."""
    return sorted(path.name for path in _FOLDER.iterdir() if any(path.glob("v*.yaml")))


def suite_versions(name: str) -> list[int]:
    """Versions of a shipped suite, ascending."""
    return sorted(int(path.stem[1:]) for path in (_FOLDER / name).glob("v*.yaml"))


def shipped_suite(name: str, version: int) -> Suite | None:
    """A shipped suite; None if there is none of that name and version."""
    known = name in suite_names() and version in suite_versions(name)
    return load_suite(f"{name}/v{version}") if known else None


def load_suite(name_or_path: str) -> Suite:
    """A shipped suite by name (its newest version) or as `name/v1`, or a suite from a path to a .yaml or .yml file.

    Raises:
        HarnessError: no such suite, or its file is not valid; the message names the file and the entry.
    """
    if Path(name_or_path).suffix in (".yaml", ".yml"):
        return _load(Path(name_or_path))
    name, _, version = name_or_path.partition("/")
    if name not in suite_names():
        raise HarnessError.unknown("suite", name, suite_names(), "Or give the path of a .yaml file.")
    versions = {f"v{number}" for number in suite_versions(name)}
    if version and version not in versions:
        raise HarnessError.unknown(f"version of suite {name}", version, versions)
    return _load(_FOLDER / name / f"{version or f'v{suite_versions(name)[-1]}'}.yaml")


def current_suite(suite: Suite | str) -> Suite:
    """A suite, or the one of that name or path, unless it is retired.

    Raises:
        HarnessError: no such suite, one whose file is not valid, or a retired one.
    """
    suite = load_suite(suite) if isinstance(suite, str) else suite
    if suite.retired:
        newest = f"Run: harness run --suite {suite.name}."
        hint = newest if suite.name in suite_names() else "Give a suite of your own another version."
        raise HarnessError(f"{suite.id} is retired: {suite.retired}", hint)
    return suite


def _load(path: Path) -> Suite:
    shipped = path.parent.parent == _FOLDER
    try:
        file = SuiteFile.model_validate(read_yaml(path))
        domains = tuple(domain.spec(path.parent) for domain in file.domains)
        for name in file.candidates:
            find_candidate_set(name)
        methods = read_methods([*file.methods, *file.more_methods], file.settings, path.parent)
        # The settings of shipped suites are checked by tests: importing the methods would take seconds.
        methods = methods if shipped else _checked(methods)
    except OSError as error:
        raise HarnessError(f"Cannot read the suite file {path}: {error.strerror}.", "Check the path.") from error
    except ValidationError as error:
        what, hint = _explained(error)
        raise HarnessError(f"{path}: {what}", hint) from error
    except HarnessError as error:
        what = error.what if error.what.startswith(f"{path}: ") else f"{path}: {error.what}"
        raise HarnessError(what, error.hint) from error
    except ValueError as error:
        raise HarnessError(f"{path}: {error}.", "Fix the file.") from error
    if file.suite in suite_names() and not shipped:
        raise HarnessError(
            f"{path}: suite: {file.suite!r} is the name of a shipped suite, and their results would mix.",
            "Give the suite another name.",
        )
    return Suite(
        name=file.suite,
        version=file.version,
        title=file.title,
        domains=domains,
        scenarios=tuple(map(file.scenario, file.scenarios)),
        candidates=tuple(file.candidates),
        candidate_seed=file.candidate_seed,
        methods=methods.names[: len(file.methods)],
        more_methods=methods.names[len(file.methods) :],
        seeds=tuple(file.seeds),
        budget=Budget(**file.budget.model_dump()),
        least_recall=file.least_recall,
        test_users=file.test_users,
        settings=methods.settings,
        variants=methods.variants,
        tuned=path.with_suffix(".tuned"),
        file=path,
        retired=file.retired,
    )


def _checked(methods: SuiteMethods) -> SuiteMethods:
    """The same methods, with settings by dotted name and values of the declared types."""
    bases = {name: variant.method for name, variant in methods.variants.items()}
    settings = {
        name: _checked_settings(bases.get(name, name), values, f"settings.{name}")
        for name, values in methods.settings.items()
    }
    variants = {
        name: replace(variant, settings=_checked_settings(variant.method, variant.settings, f"methods: {name}"))
        for name, variant in methods.variants.items()
    }
    return SuiteMethods(methods.names, variants, settings)


def _checked_settings(name: str, settings: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if not settings:
        return settings
    try:
        method = make_method(name)
    except UnavailableError:  # it cannot run here, and its settings are unknown
        return settings
    configured(method, settings, where)
    return check_settings(method.settings, settings)


def _explained(error: ValidationError) -> tuple[str, str]:
    """What is wrong with a suite file, and what to do about it."""
    # A misspelt key also makes the right one missing: the misspelling comes first.
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *parents, last = first["loc"] or ("",)
    where = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        models: dict[object, type[BaseModel]] = {
            "scenarios": ScenarioFile,
            "budget": BudgetFile,
            "methods": MethodEntry,
            "more_methods": MethodEntry,
        }
        known = models[parents[0]] if parents else SuiteFile
        return f"{where}: there is no such key.", HarnessError.unknown("key", str(last), known.model_fields).hint
    if first["type"] == "missing":
        return f"{where}: missing.", "Add it."
    if first["type"] == "value_error":
        return f"{first['msg'].removeprefix('Value error, ').rstrip('.')}.", "Fix the file."
    should = re.sub(r"^\w+ should", "It should", first["msg"]).rstrip(".")
    should = re.sub(r"valid dictionary( or instance of \w+)?", "mapping of keys to values", should)
    return f"{where}: found {json.dumps(first['input'], default=str, ensure_ascii=False)[:80]}.", f"{should}."


def pick_scenarios(suite: Suite, names: Iterable[str]) -> tuple[Scenario, ...]:
    """Scenarios of a suite by name, in the suite's order.

    Raises:
        HarnessError: a name the suite does not have.
    """
    scenarios = {scenario.name: scenario for scenario in suite.scenarios}
    picked = list(names)
    for name in picked:
        if name not in scenarios:
            raise HarnessError.unknown(f"scenario of suite {suite.name}", name, scenarios)
    return tuple(scenario for name, scenario in scenarios.items() if name in picked)
