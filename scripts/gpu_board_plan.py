"""Checks whether a machine can run the language-model rows of a suite, for gpu_board.sh.

    python -m scripts.gpu_board_plan --suite cdsr-llm --device cuda --output-dir gpu-board

HARNESS_CACHE and CDSR_DATA name the folders of the cache and of the data, as for the command `harness`. Prints the
suite as it will be run, such as `cdsr-llm/v1`, then the names of the rows, one a line.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from harness.cli.options import CACHE, DATA
from harness.errors import HarnessError, one_line
from harness.protocol.suite import Suite
from harness.run.methods import select_methods, suite_method
from harness.run.plan import Plan
from harness.run.suite import run_suite
from harness.suites import current_suite
from weaverec.merging.method import MergedModel

#: Free disk that a run needs, and each training: a component of a model of 7 billion weights and its checkpoint.
_DISK_GB, _TRAINING_GB = 2.0, 1.0


def language_model_rows(suite: Suite, names: list[str] | None, all_methods: bool) -> list[str]:
    """The names of a suite's methods that are made with a language model.

    Args:
        suite: the suite.
        names: of some methods; None for all of the suite's.
        all_methods: add the suite's `more_methods`.

    Raises:
        HarnessError: there is none.
    """
    suite, chosen = select_methods(suite, names, all_methods)
    rows = []
    for name in chosen:
        try:
            method = suite_method(suite, name)
        except HarnessError:
            if names:
                raise
            continue  # needs a package that is not here, which no language model needs
        if isinstance(method, MergedModel):
            rows.append(name)
    if not rows:
        asked = f"{', '.join(names)} of {suite.id}" if names else suite.id
        raise HarnessError(f"{asked}: no method is made with a language model.", "Choose another suite or method.")
    return rows


def check_disk(plan: Plan, cache_dir: Path, least_gb: float | None) -> None:
    """Check the free disk of the cache.

    Raises:
        HarnessError: there is too little.
    """
    needed = _DISK_GB + _TRAINING_GB * len(plan.trainings) if least_gb is None else least_gb
    folder = next(path for path in (cache_dir.resolve(), *cache_dir.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise HarnessError(
            f"{cache_dir} has {free:.0f} GB of free disk; {len(plan.trainings)} trainings may need {needed:.0f} GB.",
            "Choose another --cache-dir, or set MIN_DISK_GB.",
        )


def main() -> None:
    """Read the options, check, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--method", action="append")
    parser.add_argument("--scenario", action="append")
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--min-disk-gb", type=float)
    parser.add_argument("--names-only", action="store_true", help="check nothing")
    asked = parser.parse_args()
    cache_dir, data_dir = Path(os.environ.get("HARNESS_CACHE") or CACHE), Path(os.environ.get("CDSR_DATA") or DATA)
    suite = current_suite(asked.suite)
    rows = language_model_rows(suite, asked.method, asked.all)
    if asked.names_only:
        suite = suite if asked.limit is None else suite.limited(asked.limit)
    else:
        dry = run_suite(
            suite,
            methods=rows,
            scenarios=asked.scenario,
            seeds=asked.seed,
            output_dir=asked.output_dir,
            cache_dir=cache_dir,
            data_dir=data_dir,
            device=asked.device,
            user_limit=asked.limit,
            dry_run=True,
        )
        for run in dry.plan.skipped:
            raise HarnessError(f"{run.id} cannot be run here: {run.reason}", "")
        check_disk(dry.plan, cache_dir, asked.min_disk_gb)
        suite = dry.suite
    print(suite.id, *rows, sep="\n")


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        print(one_line(f"gpu_board: {error}"), file=sys.stderr)
        sys.exit(2)
