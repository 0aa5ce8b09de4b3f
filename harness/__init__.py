"""A benchmark and evaluation harness for cross-domain sequential recommendation.

>>> import harness
>>> board = harness.run_suite("cdsr", methods=["sasrec", "weaverec"], seeds=[0])  # doctest: +SKIP
>>> results = harness.read_results("leaderboards", "cdsr")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.errors import HarnessError
    from harness.report.read import leaderboard, read_results
    from harness.run.evaluate import Evaluation, evaluate, training_data
    from harness.run.suite import SuiteRun, run_suite, tune_suite
    from harness.suites import load_suite

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "HarnessError",
    "SuiteRun",
    "evaluate",
    "leaderboard",
    "load_suite",
    "read_results",
    "run_suite",
    "training_data",
    "tune_suite",
]

#: Imported when they are first used, so that the command line answers `--help` at once.
_MODULES = {
    "Evaluation": "harness.run.evaluate",
    "HarnessError": "harness.errors",
    "SuiteRun": "harness.run.suite",
    "evaluate": "harness.run.evaluate",
    "leaderboard": "harness.report.read",
    "load_suite": "harness.suites",
    "read_results": "harness.report.read",
    "run_suite": "harness.run.suite",
    "training_data": "harness.run.evaluate",
    "tune_suite": "harness.run.suite",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
