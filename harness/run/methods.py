"""The methods of a suite's runs: with tuned settings where those were found."""

from dataclasses import asdict

from harness.errors import HarnessError, UnavailableError
from harness.method import ChecksData, Method, ReadsPaths, content_of, make_method
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.split import TrainingData
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
        method = method.relative_to(suite.folder)
    own = suite.settings.get(name)
    return configured(method, own, f"Suite {suite.id}: settings.{name}") if own else method


def unavailable(suite: Suite, name: str) -> str | None:
    """What this machine lacks for a method, such as a package or a backbone; None where all is there.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not take.
    """
    try:
        content_of(suite_method(suite, name))
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
        raise HarnessError(f"{error.what} {error.mend}", tune_again(suite, name)) from error


def check_data(method: Method, data: TrainingData) -> str | None:
    """Why a method cannot learn from some data; None where nothing speaks against it."""
    try:
        if isinstance(method, ChecksData):
            method.check_data(data)
    except HarnessError as error:
        return str(error)
    return None


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
