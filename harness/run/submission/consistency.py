"""Checks of a submission as a whole: its name, its card and manifest against its results, and other rows."""

from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.methods.registry import is_installed, method_names
from harness.protocol.suite import Suite
from harness.results.check import difference
from harness.results.record import RunResult
from harness.results.submission import CARD, MANIFEST, SUBMISSIONS, Environment
from harness.run.submission.files import SubmittedFiles


def check_name(files: SubmittedFiles, suite: Suite) -> None:
    """Check that a row cannot be taken for one of the harness's own methods.

    Raises:
        HarnessError: it has the name of one, be it in other letters.
    """
    name = files.manifest.method
    own = {*method_names(), *suite.methods, *suite.more_methods}
    if is_installed(name) or name.casefold() in {other.casefold() for other in own}:
        raise HarnessError(
            f"{files.folder / MANIFEST}: method: {name!r} is a method of the harness or of {suite.id}.",
            "Give yours another name; rows of the harness's own methods come from its maintainers.",
        )


def check_card(files: SubmittedFiles, results: Mapping[Path, RunResult], suite: Suite) -> None:
    """Check that the card names all domains that the results learn from.

    Raises:
        HarnessError: one is missing, or is no domain of the suite.
    """
    card, domains = files.folder / CARD, [spec.name for spec in suite.domains]
    named = set(files.card.trained_on)
    for name in sorted(named - set(domains)):
        error = HarnessError.unknown("domain", name, domains)
        raise HarnessError(f"{card}: trained_on: {error.what}", f"{error.hint} Name other data in other_data.")
    for path, result in results.items():
        # Of rows that were scored outside, nobody but the card says what they learnt from.
        missing = set() if result.outside else set(result.learns_from) - named
        if missing:
            raise HarnessError(
                f"{card}: trained_on: {', '.join(sorted(missing))} is missing, which {path} learns from.", "Add it."
            )


def check_environments(files: SubmittedFiles, results: Mapping[Path, RunResult]) -> None:
    """Check that the manifest names the environments of the results, and no other.

    Raises:
        HarnessError: it does not.
    """
    made = [Environment.of(result) for result in results.values()]
    named = files.manifest.environments
    if any(each not in named for each in made) or any(each not in made for each in named):
        raise HarnessError(
            f"{files.folder / MANIFEST}: environments: not those of the results.", "Pack it again by: harness submit."
        )


def check_seeds(results: Mapping[Path, RunResult]) -> None:
    """Check that the seeds of a scenario were made alike.

    Raises:
        HarnessError: two have other settings, files, domains or makers.
    """
    first: dict[str, tuple[Path, dict[str, object]]] = {}
    for path, result in results.items():
        aspects: dict[str, object] = {
            "settings": result.settings,
            "content": result.content,
            "reference": result.reference,
            "domains learnt from": list(result.learns_from),
            "makers": "code outside the harness" if result.outside else "the harness",
        }
        other, expected = first.setdefault(result.scenario.name, (path, aspects))
        for aspect, value in aspects.items():
            if value != expected[aspect]:
                raise HarnessError(
                    f"{path}: other {aspect} than {other.name} ({difference(value, expected[aspect])}).",
                    "Make all seeds of a method alike, or submit two methods.",
                )


def check_duplicates(files: SubmittedFiles, results: Mapping[Path, RunResult], output_dir: Path) -> None:
    """Check that no other row stands for the same method, scenario and seed.

    A result of the same bytes is the same row: the submitter's own results folder holds it.

    Raises:
        HarnessError: there is one, be it with a name in other letters.
    """
    manifest = files.manifest
    board = output_dir / "results" / manifest.suite / f"v{manifest.suite_version}"
    for path, result in results.items():
        for other in sorted((board / result.scenario.name).glob("*.json")):
            if other.name.casefold() == path.name.casefold() and other.read_bytes() != path.read_bytes():
                raise HarnessError(
                    f"{path}: {manifest.method} on {result.scenario.name}, seed {result.seed}, is there already: "
                    f"{other}.",
                    "Give the method another name.",
                )
    for home in (files.folder.parent, output_dir / SUBMISSIONS / manifest.suite / f"v{manifest.suite_version}"):
        for other in sorted(home.iterdir()) if home.is_dir() else ():
            if other.name != manifest.method and other.name.casefold() == manifest.method.casefold():
                raise HarnessError(
                    f"{files.folder / MANIFEST}: method: {other.name!r} was submitted before.",
                    "Give the method another name.",
                )
