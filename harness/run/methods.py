"""The methods of a suite's runs: installed ones, those from files and variants, with the suite's and tuned settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from harness.errors import HarnessError, UnavailableError
from harness.methods.api import ChecksData, ChecksFiles, DependsOn, Method, ReadsPaths, content_of
from harness.methods.error_origin import method_errors
from harness.methods.method_file import MethodFile, is_file_reference
from harness.methods.registry import check_known, factory_of, make_method
from harness.protocol.scenario import Scenario
from harness.protocol.split import TrainingData
from harness.protocol.suite import Suite, Variant
from harness.run.provenance import EVALUATION_CODE
from harness.storage.code_identity import code_digest
from harness.storage.files import file_digest
from harness.suites.methods import check_free_name, make_variant, name_of
from harness.tuning.record import Tuning, read_tuning, tuning_path
from harness.tuning.space import Space
from harness.tuning.tunable import Tunable, configured


def select_methods(
    suite: Suite, names: Sequence[str] | None, all_methods: bool = False
) -> tuple[Suite, tuple[str, ...]]:
    """Choose methods by name, or from files, which are added to the suite.

    Args:
        suite: the suite.
        names: installed methods, the suite's own variants, and files, such as `./my_method.py:Markov`, whose relative
            paths start from the working directory; None or empty for the suite's methods.
        all_methods: add the suite's `more_methods`.

    Returns:
        The suite, with the methods from files among its variants; and the methods' names, each once.

    Raises:
        HarnessError: no such method or file, or a file's method has the name of another.
    """
    variants = dict(suite.variants)
    selected = []
    for name in (*(names or suite.methods), *(suite.more_methods if all_methods else ())):
        if is_file_reference(name):
            file = MethodFile.parse(name, Path.cwd())
            known = variants.get(file.name, Variant(file.reference))
            if known.method != file.reference:
                raise HarnessError(
                    f"{name}: {file.name} is a method of {suite.id} already, from {known.method}.",
                    "Rename the file or the class.",
                )
            check_free_name(file.name)
            variants[file.name] = make_variant(file.reference, known.settings)
            name = file.name
        elif name not in variants:
            check_known(name, list(variants))
        selected.append(name)
    return replace(suite, variants=variants), tuple(dict.fromkeys(selected))


def suite_method(suite: Suite, name: str) -> Method:
    """Make a method with the suite's settings, before any tuning.

    A variant takes the suite's settings of its base method, then its own settings.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not take.
        UnavailableError: this machine lacks what the method needs.
    """
    base, variant = suite.base_method(name), suite.variants.get(name)
    # The keys of planned runs cover the code as it was: results of changed code must not be stored under them.
    if variant and variant.file_digest and file_digest(MethodFile.parse(base, Path()).path) != variant.file_digest:
        raise HarnessError(f"{base} has changed since the suite was loaded.", "Run the command again.")
    method = make_method(base)
    if isinstance(method, ReadsPaths):
        method = method.relative_to(suite.file.parent)
    settings = suite.settings.get(name_of(base))
    if settings:
        method = configured(method, settings, f"{suite.file}: settings.{name_of(base)}")
    if variant and variant.settings:
        method = configured(method, variant.settings, f"{suite.file}: methods: {name}")
    return method


def unavailable(suite: Suite, name: str) -> str | None:
    """Return what this machine lacks for a method, such as a package or a backbone; None if nothing is missing.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not take.
    """
    try:
        method = suite_method(suite, name)
        with _prefix_errors(suite, name):
            content_of(method)
    except UnavailableError as error:
        return str(error)
    return None


def method_for(suite: Suite, scenario: Scenario, name: str) -> tuple[Method, Tuning | None]:
    """Make a method as a scenario runs it; return it with the tuning that its settings come from.

    A variant uses only its own tuning, never that of its base method.

    Raises:
        HarnessError: no such method; or the tuned settings were found with another budget than the suite's, do not fit
            the method, or replace a setting that the variant fixes.
        UnavailableError: this machine lacks what the method needs.
    """
    method = suite_method(suite, name)
    if not isinstance(method, Tunable):
        return method, None
    path = tuning_path(suite, scenario, name, method)
    tuning = read_tuning(path)
    if tuning is None:
        return method, None
    if tuning.budget != asdict(suite.budget):
        raise HarnessError(f"{path}: found with another budget than that of {suite.id}.", tune_again(suite, name))
    try:
        tuned = configured(method, tuning.chosen, f"{path}: chosen")
    except HarnessError as error:
        raise HarnessError(f"{error.what} {error.hint}", tune_again(suite, name)) from error
    if extra := sorted(set(tuning.chosen) - set(space_of(suite, name, method).root)):
        raise HarnessError(
            f"{path}: chosen: {', '.join(extra)}: not in the search space of {name} in {suite.id}.",
            tune_again(suite, name),
        )
    return tuned, tuning


def space_of(suite: Suite, name: str, method: Tunable) -> Space:
    """Return a method's search space in a suite, without the settings that a variant fixes."""
    fixed = suite.variants[name].settings if name in suite.variants else {}

    def is_free(setting: str) -> bool:
        return not any(f"{setting}.".startswith(f"{f}.") or f"{f}.".startswith(f"{setting}.") for f in fixed)

    return Space({setting: choice for setting, choice in method.space.root.items() if is_free(setting)})


def check_files(suite: Suite, name: str, method: Method) -> None:
    """Check, before anything starts, that the files that a method needs are complete.

    Raises:
        HarnessError: they are not; the message names the suite's file and the method.
    """
    with method_errors(name), _prefix_errors(suite, name):
        if isinstance(method, ChecksFiles):
            method.check_files()


@contextmanager
def _prefix_errors(suite: Suite, name: str) -> Iterator[None]:
    """Put the suite's file and the method before messages about a method's files."""
    try:
        yield
    except UnavailableError:
        raise
    except HarnessError as error:
        key = f"settings.{name}" if name in suite.settings else name
        raise HarnessError(f"{suite.file}: {key}: {error.what}", error.hint) from error


def check_data(name: str, method: Method, data: TrainingData) -> str | None:
    """Return why a method cannot learn from some data; None if it can."""
    with method_errors(name):
        try:
            if isinstance(method, ChecksData):
                method.check_data(data)
        except HarnessError as error:
            return str(error)
    return None


def code_of(suite: Suite, name: str, method: Method) -> str:
    """SHA-256 (hex) of the code that decides a method's results: its own, and the harness's that splits and ranks."""
    declared = method.depends_on if isinstance(method, DependsOn) else ()
    return code_digest(factory_of(suite.base_method(name)), method, *declared, *EVALUATION_CODE)


def check_tuned_on(suite: Suite, name: str, tuning: Tuning | None, data: TrainingData) -> None:
    """Refuse settings that were tuned on other data.

    Raises:
        HarnessError: the data are not those of the tuning.
    """
    for domain, identity in tuning.data.items() if tuning else ():
        if data.domains[domain].identity != identity:
            raise HarnessError(
                f"The settings of {name} in {suite.tuned / name} were chosen on other data of {domain!r}.",
                tune_again(suite, name),
            )


def tune_again(suite: Suite, name: str) -> str:
    """Return the hint for tuned settings that do not fit."""
    return f"Delete the file, or run: harness tune --suite {suite.id} --method {name} --again."
