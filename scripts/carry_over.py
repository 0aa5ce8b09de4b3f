"""Carries results of schema version 3 over to version 4, in place, without making any of them anew.

Ranks, metrics, costs and provenance stay as they are, to the last bit. What version 4 has beside them is computed from
the data, which are prepared again, and must have the fingerprints that the results have:

- `users.parquet` in each scenario's folder: ids of the users and held-out items that the rows of ranks are of. The
  slices that the data give these users must be those of each table of ranks, row by row (version 3 cut cold users by
  the shortest third's longest history, and they stay as they were cut);
- an audit of each domain's order of ties;
- `candidate_seed` and `least_recall`, from the suite's file, which replace the digest of the whole suite. Candidates
  are drawn again with that seed, and must be those of the result;
- `learns_from` and `reference`, from the method, where the result does not have them.

A result for which that fails is left as it is, and named with the reason. Results that were carried over already are
passed by, so the script may be run again.

    python scripts/carry_over.py leaderboards/results leaderboards/experiments/results

Data are read from --data-dir (or CDSR_DATA). A suite is one of the harness's own, or the file `<suite>.yaml` in the
folder above the results.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.methods.api import learns_from, reference_of
from harness.methods.registry import make_method
from harness.protocol.scenario import Scenario, Suite
from harness.protocol.slices import slices_of
from harness.report.collect import boards_in
from harness.results.record import RankTable, RunResult, TestUsers, ranks_path, read_result, users_path
from harness.run.score import tested_users
from harness.run.splits import Domains, candidate_digests, open_test, open_training, prepare_domains
from harness.storage.files import write_atomically
from harness.suites import load_suite, pick_scenarios, shipped_suite

_OLD, _NEW = 3, 4


@dataclass(frozen=True)
class Opened:
    """What the data say of a scenario.

    Attributes:
        suite: its suite.
        scenario: the scenario.
        domains: the prepared domains.
        users: whom the rows of ranks are of.
        slices: which users are in each slice, bool [n_users].
        cold_users: those of version 3.
        split: the split with its instants.
        drawn: digests of drawn candidates, by the candidate set's name.
    """

    suite: Suite
    scenario: Scenario
    domains: Domains
    users: TestUsers
    slices: dict[str, NDArray[np.bool_]]
    cold_users: NDArray[np.bool_]
    split: str
    drawn: dict[str, str]


def carry_over(results: Path, cache: Path, data: Path) -> tuple[int, dict[Path, str]]:
    """Carries all results below a folder over.

    Args:
        results: a folder of `<suite>/v<version>/<scenario>/<result>.json`.
        cache: where prepared domains are kept.
        data: the folder of the data sets.

    Returns:
        How many results were carried over, and the reason for each that was left as it is.
    """
    carried, left = 0, dict[Path, str]()
    for name, version in boards_in(results):
        home = results / name / f"v{version}"
        for folder in sorted(path for path in home.iterdir() if path.is_dir()):
            old = [path for path in sorted(folder.glob("*.json")) if _version(path) == _OLD]
            if not old:
                continue
            try:
                opened = _open(_suite(results, name, version), folder.name, cache, data)
            except HarnessError as error:
                left |= dict.fromkeys(old, str(error))
                continue
            write_atomically(users_path(folder / "any"), opened.users.to_parquet())
            for path in old:
                before = path.read_bytes()
                try:
                    write_atomically(path, carried_over(path, opened))
                    read_result(path)
                    carried += 1
                except HarnessError as error:
                    write_atomically(path, before)
                    left[path] = str(error)
    return carried, left


def carried_over(path: Path, opened: Opened) -> str:
    """The text of a result in the new version.

    Raises:
        HarnessError: the result is not of these data, or its method is not known.
    """
    raw = json.loads(path.read_bytes())
    _check(raw, RankTable.from_parquet(ranks_path(path), opened.users), opened)
    method = make_method(raw["method"])
    target, sources = opened.scenario.target, opened.scenario.sources
    del raw["suite_digest"]
    raw |= {
        "schema_version": _NEW,
        "learns_from": raw.get("learns_from") or learns_from(method, target, sources),
        "reference": reference_of(method),
        "candidate_seed": opened.suite.candidate_seed,
        "least_recall": opened.suite.least_recall,
        "users_sha256": opened.users.digest,
    }
    for name, record in raw["data"].items():
        if name in opened.domains.ties:
            record["ties"] = asdict(opened.domains.ties[name])
    # What a result does not hold stays away from it, so that nothing else about it changes.
    return RunResult.model_validate(raw).model_dump_json(indent=1, exclude_unset=True) + "\n"


def _check(raw: dict[str, Any], table: RankTable, opened: Opened) -> None:
    suite, scenario = opened.suite, opened.scenario
    expected: dict[str, object] = {
        "scenario": [scenario.name, scenario.target, list(scenario.sources), scenario.overlap, scenario.overlap_seed],
        "split": opened.split,
        "data": {name: opened.domains.fingerprints[name] for name in scenario.domains},
        "candidates": sorted(map(str, suite.candidates)),
        "drawn candidates": opened.drawn,
    }
    own = raw["scenario"]
    found = {
        "scenario": [own["name"], own["target"], own["sources"], own["overlap"], own["overlap_seed"]],
        "split": own["split"],
        "data": {name: record["fingerprint"] for name, record in raw["data"].items()},
        "candidates": sorted(raw["candidates"]),
        "drawn candidates": {name: c["digest"] for name, c in raw["candidates"].items() if c["digest"]},
    }
    for aspect, value in expected.items():
        if found[aspect] != value:
            raise HarnessError(f"Another {aspect} than the suite's: {found[aspect]}, not {value}.", "Make it anew.")
    for name, members in opened.slices.items():
        cuts = [members, opened.cold_users] if name == "cold_users" else [members]
        if not any(np.array_equal(table.slices.get(name, ()), cut) for cut in cuts):
            raise HarnessError(f"Its slice {name} is not that of the data.", "Make it anew.")


def _suite(results: Path, name: str, version: int) -> Suite:
    suite = shipped_suite(name, version) or load_suite(str(results.parent / f"{name}.yaml"))
    if (suite.name, suite.version) != (name, version):
        raise HarnessError(f"There is no file of {name}/v{version}.", f"Put it into {results.parent}.")
    return suite


def _open(suite: Suite, name: str, cache: Path, data: Path) -> Opened:
    (scenario,) = pick_scenarios(suite, [name])
    specs = tuple(suite.spec(domain) for domain in scenario.domains)
    domains = prepare_domains(specs, cache / "domains", data)
    training = open_training(suite, scenario, domains)
    test = open_test(suite, scenario, domains)
    target = training.target_domain
    lengths = test.histories.sequences.lengths
    return Opened(
        suite,
        scenario,
        domains,
        tested_users(suite, training, test),
        slices_of(test, target),
        lengths <= np.sort(lengths)[(len(lengths) - 1) // 3],
        target.split,
        candidate_digests(suite, scenario, domains),
    )


def _version(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())["schema_version"]
    except (ValueError, KeyError, TypeError):
        return None


def main() -> None:
    """Reads the command line, carries over, and says what was left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("results", nargs="+", type=Path, help="folder of results, such as leaderboards/results")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("CDSR_DATA", "data")))
    parser.add_argument("--cache-dir", type=Path, default=Path(".harness"))
    options = parser.parse_args()
    failed = False
    for folder in options.results:
        carried, left = carry_over(folder, options.cache_dir, options.data_dir)
        print(f"{folder}: {carried} results carried over, {len(left)} left as they are")
        for path, reason in left.items():
            print(f"  {path}: {reason}")
        failed |= bool(left)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
