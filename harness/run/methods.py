"""The methods of a suite's runs: with tuned settings where those were found."""

from dataclasses import asdict

from harness.errors import HarnessError
from harness.identity import code_digest
from harness.method import DependsOn, Method, factory_of, make_method
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.split import TrainingData
from harness.run.provenance import EVALUATION_CODE
from harness.tuning.record import Tuning, read_tuning, tuning_path
from harness.tuning.tunable import Tunable


def suite_method(suite: Suite, name: str) -> Method:
    """A method with the settings that the suite gives it, before any tuning.

    Raises:
        HarnessError: no such method, or the suite gives it settings that it does not have.
    """
    method = make_method(name)
    own = suite.settings.get(name)
    if own is None:
        return method
    if not isinstance(method, Tunable):
        raise HarnessError(f"Suite {suite.id} has settings for {name}, which takes none.", "Mend the suite file.")
    try:
        return method.tuned(own)
    except ValueError as error:
        raise HarnessError(f"Suite {suite.id}: settings of {name}: {error}.", "Mend the suite file.") from error


def method_for(suite: Suite, scenario: Scenario, name: str) -> tuple[Method, Tuning | None]:
    """A method as a scenario runs it, and the tuning it owes its settings to.

    Raises:
        HarnessError: no such method; or settings that were found with another budget than the suite's.
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
        return method.tuned(tuning.chosen), tuning
    except ValueError as error:
        raise HarnessError(f"{path}: {error}.", tune_again(suite, name)) from error


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
