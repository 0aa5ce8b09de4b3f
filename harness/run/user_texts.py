"""Opens titles and histories of a scenario's test users, for a report on single users."""

from dataclasses import replace
from pathlib import Path

from harness.data.domain_store import DOMAIN
from harness.errors import HarnessError
from harness.protocol.suite import Suite
from harness.report.examples import Texts
from harness.results.record import RunResult
from harness.run.progress import NO_PROGRESS, Progress
from harness.run.scenario_data import open_test, open_training
from harness.run.score import tested_users
from harness.run.workspace import Workspace, open_workspace
from harness.storage.store import Store
from harness.suites import load_suite, pick_scenarios, shipped_suite


def user_texts(
    result: RunResult, suite_file: str | None, *, cache_dir: Path, data_dir: Path, progress: Progress = NO_PROGRESS
) -> Texts:
    """Titles and histories of the users that a result was tested on.

    Domains come from the cache, and are prepared if they are not there.

    Args:
        result: any of the scenario.
        suite_file: of a suite that is not shipped.
        cache_dir: the folder of the store.
        data_dir: the folder of the data sets' files.
        progress: told of each domain.

    Raises:
        HarnessError: the suite's file or its data are missing, or they are not those that the result is of.
    """
    suite = _suite_of(result, suite_file)
    (scenario,) = pick_scenarios(suite, [result.scenario.name])
    if scenario.overlap == "kept":  # the sources do not change the target
        scenario = replace(scenario, sources=())
    fingerprints = {name: result.data[name].fingerprint for name in scenario.domains}
    workspace = Workspace(suite, Store(cache_dir / "store", progress.say), "cpu", fingerprints)
    if not all(workspace.store.has(DOMAIN, fingerprint) for fingerprint in fingerprints.values()):
        opened = open_workspace(
            suite, cache_dir=cache_dir, data_dir=data_dir, domains=scenario.domains, progress=progress
        )
        for name, fingerprint in fingerprints.items():
            if opened.fingerprints[name] != fingerprint:
                raise HarnessError(
                    f"Domain {name} has another content than when the result was made.", "Restore its files."
                )
    training, test = open_training(workspace, scenario), open_test(workspace, scenario)
    users, catalogue = tested_users(suite, training, test), training.target_domain.catalogue
    if users.digest != result.users_sha256:
        raise HarnessError(f"{suite.id} gives {scenario.name} other test users than the result has.", "Run it again.")
    histories = {
        user: tuple(catalogue.item_ids[item] for item in items)
        for user, items in zip(users.user_ids, test.histories.sequences, strict=True)
    }
    return Texts(dict(zip(catalogue.item_ids, catalogue.texts, strict=True)), histories)


def _suite_of(result: RunResult, suite_file: str | None) -> Suite:
    """The suite of a result.

    Raises:
        HarnessError: it is not shipped, and no file of it is named.
    """
    name = f"{result.suite}/v{result.suite_version}"
    suite = shipped_suite(result.suite, result.suite_version)
    if suite is None and suite_file and Path(suite_file).suffix in (".yaml", ".yml"):
        suite = load_suite(suite_file)
    if suite is None or (suite.name, suite.version) != (result.suite, result.suite_version):
        raise HarnessError(f"{name} is not a built-in suite.", "Name its file: --suite FILE.yaml.")
    return suite
