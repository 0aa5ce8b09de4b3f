"""The methods of a suite's runs: with tuned settings where those were found."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from harness.errors import HarnessError, UnavailableError
from harness.methods.api import ChecksData, ChecksFiles, DependsOn, Method, ReadsPaths, content_of
from harness.methods.plugins import told_as_plugins
from harness.methods.registry import factory_of, make_method
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.split import TrainingData
from harness.run.provenance import EVALUATION_CODE
from harness.storage.code_identity import code_digest
from harness.tuning.record import Tuning, read_tuning, tuning_path
from harness.tuning.tunable import Tunable, configured


def suite_method(suite: Suite, name: str) -> Method:
    """A method with the settings that the suite gives it, before any tuning.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not take.
        UnavailableError: this machine lacks what the method needs.
    """
    method = make_method(name)
    if isinstance(method, ReadsPaths):
        method = method.relative_to(suite.file.parent)
    own = suite.settings.get(name)
    return configured(method, own, f"{suite.file}: settings.{name}") if own else method


def unavailable(suite: Suite, name: str) -> str | None:
    """What this machine lacks for a method, such as a package or a backbone; None where all is there.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not take.
    """
    try:
        method = suite_method(suite, name)
        with _named(suite, name):
            content_of(method)
    except UnavailableError as error:
        return str(error)
    return None


def method_for(suite: Suite, scenario: Scenario, name: str) -> tuple[Method, Tuning | None]:
    """A method as a scenario runs it, and the tuning it owes its settings to.

    Raises:
        HarnessError: no such method; or settings that were found with another budget than the suite's, or that it does
            not take.
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
        return configured(method, tuning.chosen, f"{path}: chosen"), tuning
    except HarnessError as error:
        raise HarnessError(f"{error.what} {error.hint}", tune_again(suite, name)) from error


def check_files(suite: Suite, name: str, method: Method) -> None:
    """Finds out, before anything starts, whether the files that a method needs are there and whole.

    Raises:
        HarnessError: they are not; the message names the suite's file and the method.
    """
    with told_as_plugins(name), _named(suite, name):
        if isinstance(method, ChecksFiles):
            method.check_files()


@contextmanager
def _named(suite: Suite, name: str) -> Iterator[None]:
    """Puts the suite's file and the method before messages of wrong files."""
    try:
        yield
    except UnavailableError:
        raise
    except HarnessError as error:
        key = f"settings.{name}" if name in suite.settings else name
        raise HarnessError(f"{suite.file}: {key}: {error.what}", error.hint) from error


def check_data(name: str, method: Method, data: TrainingData) -> str | None:
    """Why a method cannot learn from some data; None where nothing speaks against it."""
    with told_as_plugins(name):
        try:
            if isinstance(method, ChecksData):
                method.check_data(data)
        except HarnessError as error:
            return str(error)
    return None


def code_of(name: str, method: Method) -> str:
    """SHA-256 (hex) of the code that decides a method's results: its own, and the harness's that splits and ranks."""
    declared = method.depends_on if isinstance(method, DependsOn) else ()
    return code_digest(factory_of(name), method, *declared, *EVALUATION_CODE)


def check_tuned_on(suite: Suite, name: str, tuning: Tuning | None, data: TrainingData) -> None:
    """Refuses settings that were chosen on other data.

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
    """The mend of settings that do not fit."""
    return f"Delete the file, or run: harness tune --suite {suite.id} --method {name} --again."
