"""Makes the run of a result again, from what the result says, and compares."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.errors import HarnessError
from harness.methods.api import settings_of
from harness.protocol.scenario import Scenario
from harness.protocol.suite import Suite
from harness.results.files import read_recommendations, read_result
from harness.results.matching import differences_between, match_artefacts, match_lists, match_ranks
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.results.reproduction import LARGEST_TOLERANCE, Reproduction, verdict_of
from harness.run.methods import method_for, select_methods, suite_method
from harness.run.suite import run_suite
from harness.storage.files import canonical_json
from harness.suites import load_suite, pick_scenarios
from harness.training.device import pick_device


@dataclass(frozen=True)
class ReproducedRun:
    """What `reproduce` did.

    Attributes:
        record: what matched and what differs.
        first: the result that was made again.
        again: the result of the new run.
    """

    record: Reproduction
    first: RunResult
    again: RunResult


def reproduce(
    path: Path,
    *,
    data_dir: Path,
    suite: Suite | str | None = None,
    method: str | None = None,
    cache_dir: Path | None = None,
    device: str | None = None,
    jobs: int | None = None,
    tolerance: float = LARGEST_TOLERANCE,
    console: Console | None = None,
) -> ReproducedRun:
    """Make the run of a result again in a temporary folder, and tell what matched.

    Method, settings, seed, scenario, suite version and device are those of the result file.

    Args:
        path: of the result, with its ranks beside it.
        data_dir: folder of the data sets' files.
        suite: the suite or its file, if it is none of the shipped ones.
        method: the file that the method comes from, as in `./my_method.py:Markov`, if it is not installed.
        cache_dir: folder of trained artefacts to take. None: all is trained again.
        device: instead of the result's.
        jobs: worker processes; see `run_suite`.
        tolerance: largest difference of metrics over all test users that counts as a match.
        console: where progress is shown. None: the standard error.

    Raises:
        HarnessError: the result cannot be read, was scored outside, or is of a suite, scenario or method that is not
            here; or the run failed.
    """
    first, table = read_result(path)
    if first.outside is not None:
        raise HarnessError(
            f"{path} was scored outside: the harness ran no method that it could run again.",
            "Score its file again by: harness score.",
        )
    loaded, scenario = _suite_of(path, first, suite)
    loaded, name = _method_of(path, first, loaded, method)
    loaded = _with_settings(loaded, scenario, name, first)
    device = pick_device(device or first.provenance.device)
    with tempfile.TemporaryDirectory(prefix="harness-reproduce-") as temporary:
        cache, output = Path(temporary, "cache"), Path(temporary, "leaderboards")
        cached = _link_cache(cache_dir, cache)
        run_suite(
            loaded,
            methods=[method or name],
            scenarios=[scenario.name],
            seeds=[first.seed],
            output_dir=output,
            cache_dir=cache,
            data_dir=data_dir,
            device=device,
            jobs=jobs,
            stop_on_error=True,
            keep_lists=first.lists_sha256 is not None,
            console=console,
        )
        new_path = output / "results" / first.path
        again, new_table = read_result(new_path)
        record = _compare((path, first, table), (new_path, again, new_table), cached, tolerance)
    return ReproducedRun(record, first, again)


_Read = tuple[Path, RunResult, RankTable]


def _compare(before: _Read, after: _Read, cached: set[str], tolerance: float) -> Reproduction:
    """What matched between a result and its run made again."""
    path, first, table = before
    new_path, again, new_table = after
    same_people = set(table.users.user_ids) == set(new_table.users.user_ids)
    same_data = same_people and all(
        (
            first.users_sha256 == again.users_sha256,
            {n: d.fingerprint for n, d in first.data.items()} == {n: d.fingerprint for n, d in again.data.items()},
        )
    )
    lists = None
    if first.items_sha256 == again.items_sha256 and first.users_sha256 == again.users_sha256:
        lists = match_lists(
            read_recommendations(path, first, table.users), read_recommendations(new_path, again, new_table.users)
        )
    ranks = match_ranks(table, new_table.reordered(table.users)) if same_people else {}
    return Reproduction(
        suite=first.suite,
        suite_version=first.suite_version,
        scenario=first.scenario.name,
        method=first.method,
        seed=first.seed,
        result_digest=first.content_digest(),
        verdict=verdict_of(ranks, same_data, tolerance),
        tolerance=tolerance,
        ranks=ranks,
        lists=lists,
        artefacts=match_artefacts(first.training, again.training, cached),
        same_data=same_data,
        differences=differences_between(first, again),
        code=again.code,
        provenance=again.provenance,
    )


def _suite_of(path: Path, result: RunResult, suite: Suite | str | None) -> tuple[Suite, Scenario]:
    """The suite and the scenario of a result; a retired version runs as well as it can."""
    limit = result.user_limit
    name = f"{result.suite}/v{result.suite_version}"
    whole = name if limit is None else name.replace(f"-limit-{limit}/", "/")
    try:
        loaded = suite if isinstance(suite, Suite) else load_suite(suite or whole)
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", "Name the file of its suite with --suite.") from error
    loaded = loaded if limit is None else loaded.limited(limit)
    if loaded.id != name:
        raise HarnessError(f"{path} is of {name}, not of {loaded.id}.", "Name the file of its suite with --suite.")
    try:
        (scenario,) = pick_scenarios(loaded, [result.scenario.name])
    except HarnessError as error:
        raise HarnessError(f"{path}: {error.what}", error.hint) from error
    return replace(loaded, retired=None), scenario


def _method_of(path: Path, result: RunResult, suite: Suite, method: str | None) -> tuple[Suite, str]:
    """The suite with the method of a result, and the method's name."""
    try:
        suite, (name,) = select_methods(suite, [method or result.method])
    except HarnessError as error:
        hint = "Install the method, or name its file: --method ./my_method.py:Name." if method is None else error.hint
        raise HarnessError(f"{path}: {error.what}", hint) from error
    if name != result.method:
        raise HarnessError(f"{path} is of {result.method}, not of {name}.", "Name the file of its method.")
    return suite, name


def _with_settings(suite: Suite, scenario: Scenario, name: str, result: RunResult) -> Suite:
    """The suite, with the settings of a result instead of its own and of tuned ones where they differ."""
    recorded = _flat(result.settings)
    if _flat(settings_of(method_for(suite, scenario, name)[0])) == recorded:
        return suite
    suite = replace(suite, tuned=Path("no settings were tuned"))
    current = _flat(settings_of(suite_method(suite, name)))
    changed = {key: value for key, value in recorded.items() if key not in current or current[key] != value}
    if name in suite.variants:
        variant = suite.variants[name]
        variants = {**suite.variants, name: replace(variant, settings={**variant.settings, **changed})}
        return replace(suite, variants=variants)
    return replace(suite, settings={**suite.settings, name: {**suite.settings.get(name, {}), **changed}})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings as JSON values by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in json.loads(canonical_json(dict(settings))).items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value})
    return flat


def _link_cache(source: Path | None, cache: Path) -> set[str]:
    """Link what a cache holds into a new one, but for its runs; give the keys of what it holds."""
    store = cache / "store"
    store.mkdir(parents=True)
    if source is None:
        return set()
    if not (source / "store").is_dir():
        raise HarnessError(f"--cache-dir {source} is no cache.", "Name one, or leave it out to train all again.")
    kinds = [kind for kind in sorted((source / "store").iterdir()) if kind.is_dir() and kind.name != "run"]
    for kind in kinds:
        (store / kind.name).symlink_to(kind.resolve(), target_is_directory=True)
    return {entry.name for kind in kinds for entry in kind.iterdir()}
