"""Checks that a method keeps the rules of `harness.methods.api`, on two small synthetic domains.

In a test of your own: `assert not [check for check in check_method(MyMethod) if check.outcome == "failed"]`. On the
command line: `harness check-method NAME`.

Scores are compared to within rounding: they may differ by `TOLERANCE` times the user's largest score.
"""

import dataclasses
import json
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.data.domain import Sequences
from harness.errors import HarnessError, UnavailableError, one_line
from harness.methods.api import DotProduct, Method, VectorScorer, learns_from, reference_of
from harness.methods.conformance_subject import SOURCE, TARGET, SkippedError, Subject, synthetic_domain
from harness.methods.registry import check_known
from harness.protocol.ranks import InvalidScoresError, check_scores
from harness.protocol.split import LeaveOneOut

#: Largest difference between scores that should be equal, as a share of the user's largest.
TOLERANCE = 1e-4
#: Scoring a block may allocate this many times the memory of its float32 scores, and `MEMORY_BASE_MB` besides.
MEMORY_MULTIPLE = 16
MEMORY_BASE_MB = 32
#: Users and items of the block whose memory is measured: 4 MB of float32.
_BLOCK_USERS, _BLOCK_ITEMS = 256, 4096


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: what was checked.
        outcome: whether the method passed; a check that does not apply is skipped.
        reason: what went wrong, why it was skipped, or what was seen; one line.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""


class _FailedError(Exception):
    """The method breaks the rule that is checked."""


def check_method(make: Callable[[], Method], device: str = "cpu") -> list[Check]:
    """Run every check on a method.

    Args:
        make: makes the method; called anew for each fit.
        device: `cpu` or `cuda`.

    Returns:
        The outcomes, in a fixed order. Once a fit fails, the checks that need one are skipped.

    Raises:
        UnavailableError: this machine lacks what the method needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(make, device, Path(folder))
        checks = []
        for name, check in CHECKS.items():
            try:
                checks.append(Check(name, "passed", one_line(check(subject) or "")))
            except UnavailableError:
                raise
            except SkippedError as error:
                checks.append(Check(name, "skipped", one_line(str(error))))
            except _FailedError as error:
                checks.append(Check(name, "failed", one_line(str(error))))
            except Exception as error:
                checks.append(Check(name, "failed", one_line(f"{type(error).__name__}: {error}")))
    return checks


def _check_settings(subject: Subject) -> str:
    settings = subject.make().settings
    if not dataclasses.is_dataclass(settings) or isinstance(settings, type):
        raise _FailedError(f"settings are {type(settings).__name__}, not an object of a dataclass")
    if not type(settings).__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise _FailedError(f"{type(settings).__name__} is not frozen: declare it with @dataclass(frozen=True)")
    values = dataclasses.asdict(settings)
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _FailedError(f"settings are not JSON values: {error}") from error
    if text != json.dumps(dataclasses.asdict(subject.make().settings)):
        raise _FailedError("two methods have different default settings")
    return f"{len(values)} settings"


def _check_shapes(subject: Subject) -> str:
    candidates = subject.candidates()
    histories = subject.held_out.histories
    try:
        dtype = subject.catalogue_scores().dtype
        for rows, columns in ((len(histories), candidates.shape[1]), (1, candidates.shape[1]), (len(histories), 1)):
            scores = subject.scorer().score(histories.block(0, rows), candidates[:rows, :columns])
            check_scores(scores, (rows, columns))
    except InvalidScoresError as error:
        subject.unusable = "the method's scores have the wrong shape or type"
        raise _FailedError(str(error)) from error
    return f"{dtype} [n_users, n_candidates]"


def _check_domains(subject: Subject) -> str:
    method = subject.make()
    domains = learns_from(method, TARGET, (SOURCE,))
    if domains not in ((TARGET,), (TARGET, SOURCE), (SOURCE,)):
        raise _FailedError(f"learns_from gives {domains} for the target 'target' and the source 'source'")
    reference = reference_of(method)
    if reference is not None and not isinstance(reference, str):
        raise _FailedError(f"reference is {reference!r}, not the name of a method")
    if reference is not None:
        try:
            check_known(reference)
        except HarnessError as error:
            raise _FailedError(f"reference: {error}") from error
    if SOURCE not in domains:
        changed = {**subject.domains, SOURCE: synthetic_domain(SOURCE, 2)}
        scores = subject.catalogue_scores()
        _require_equal(scores, subject.catalogue_scores(subject.fit(changed)), "scores change with the source's data")
    return f"learns from {', '.join(domains)}; compared with {reference or 'no other method'}"


def _check_fit(subject: Subject) -> str:
    scorer = subject.scorer()
    if not callable(getattr(scorer, "score", None)):
        raise _FailedError(f"fit gives {type(scorer).__name__}, which has no method 'score'")
    return ""


def _check_determinism(subject: Subject) -> str:
    first = subject.catalogue_scores()
    second = subject.catalogue_scores(subject.fit(subject.domains, random_state=1))
    _require_equal(first, second, "two fits with one seed give different scores")
    return "two fits with one seed"


def _check_test_events(subject: Subject) -> str:
    """The changed domain has other test events, and nothing else: what may be seen of both is the same."""
    domain = subject.domains[TARGET]
    items = domain.interactions.items.copy()
    last = domain.interactions.offsets[1:] - 1
    items[last] = (items[last] + subject.n_items // 2) % subject.n_items
    events = Sequences(domain.interactions.offsets, items, domain.interactions.timestamps)
    unchanged = subject.catalogue_scores()
    scorer = subject.fit({**subject.domains, TARGET: replace(domain, interactions=events)})
    _require_equal(unchanged, subject.catalogue_scores(scorer), "scores change with the test events")
    return ""


def _check_finite(subject: Subject) -> str:
    scores = subject.catalogue_scores().astype(np.float64)
    if np.isnan(scores).any():
        raise _FailedError(f"{np.isnan(scores).sum():,} of {scores.size:,} scores are NaN")
    if (scores == np.inf).any():
        raise _FailedError(f"{(scores == np.inf).sum():,} of {scores.size:,} scores are +inf; only -inf has a meaning")
    if (scores == -np.inf).all():
        raise _FailedError("all scores are -inf: nothing is recommended")
    tied = 1 - np.mean([len(np.unique(row)) / len(row) for row in scores])
    return f"{tied:.0%} of scores tie with another, which is allowed"


def _check_catalogue(subject: Subject) -> str:
    candidates = subject.candidates()
    scores = subject.scorer().score(subject.held_out.histories, candidates)
    expected = np.take_along_axis(subject.catalogue_scores(), candidates, axis=1)
    _require_equal(expected, scores, "candidates have other scores than in the whole catalogue")
    return ""


def _check_order(subject: Subject) -> str:
    histories, candidates = subject.held_out.histories, subject.candidates()
    untouched = candidates.copy()
    scores = np.asarray(subject.scorer().score(histories, candidates))
    if not np.array_equal(candidates, untouched):
        raise _FailedError("scoring changes the array of candidates")
    turned = np.asarray(subject.scorer().score(histories, candidates[:, ::-1].copy()))
    _require_equal(scores, turned[:, ::-1], "scores change with the order of candidates")
    return ""


def _check_batches(subject: Subject) -> str:
    histories, scorer = subject.held_out.histories, subject.scorer()
    n_users = len(histories)
    together = subject.catalogue_scores()
    _require_equal(together, subject.catalogue_scores(), "scoring the same users twice gives different scores")
    alone = np.concatenate([np.asarray(scorer.score(histories.block(u, u + 1), None)) for u in range(n_users)])
    _require_equal(together, alone, "scores change with the size of the batch")
    rows = np.random.default_rng(3).permutation(n_users)[: n_users // 2]
    some = np.asarray(scorer.score(histories.select(rows), None))
    _require_equal(together[rows], some, "scores change with the other users of the batch")
    return ""


def _check_vectors(subject: Subject) -> str:
    scorer, histories = subject.scorer(), subject.held_out.histories
    if not isinstance(scorer, VectorScorer):
        raise SkippedError("the scorer has no item_vectors and history_vectors: nothing can be retrieved for it")
    items, users = np.asarray(scorer.item_vectors()), np.asarray(scorer.history_vectors(histories))
    if items.ndim != 2 or len(items) != subject.n_items:
        raise _FailedError(f"item_vectors has the shape {list(items.shape)}, not [{subject.n_items}, d]")
    if users.shape != (len(histories), items.shape[1]):
        shape = [len(histories), items.shape[1]]
        raise _FailedError(f"history_vectors has the shape {list(users.shape)}, not {shape} as item_vectors asks for")
    if not (np.isfinite(items).all() and np.isfinite(users).all()):
        raise _FailedError("vectors hold NaN or infinities")
    _require_equal(users[:1], scorer.history_vectors(histories.block(0, 1)), "vectors change with the batch")
    if not isinstance(scorer, DotProduct):
        return "scores may be others than the vectors' dot products"
    _require_equal(
        users @ items.T, subject.catalogue_scores(), "a DotProduct's scores are not its vectors' dot products"
    )
    return "scores are the vectors' dot products"


def _check_memory(subject: Subject) -> str:
    subject.scorer()  # whatever keeps a method from being fitted is reported once
    wide = {**subject.domains, TARGET: synthetic_domain(TARGET, 0, n_items=_BLOCK_ITEMS)}
    scorer = subject.fit(wide)
    held_out = LeaveOneOut().test(wide[TARGET])
    histories = held_out.histories.select(np.arange(_BLOCK_USERS) % len(held_out.targets))
    scorer.score(histories.block(0, 1), None)  # what is loaded once is not counted
    tracemalloc.start()
    try:
        scorer.score(histories, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = 4 * _BLOCK_USERS * _BLOCK_ITEMS
    used = f"{peak / 1e6:.0f} MB for {size / 1e6:.0f} MB of scores (memory of torch is not seen)"
    if peak > MEMORY_MULTIPLE * size + MEMORY_BASE_MB * 1e6:
        allowed = MEMORY_MULTIPLE * size / 1e6 + MEMORY_BASE_MB
        raise _FailedError(f"scoring a block takes {used}; at most {allowed:.0f} MB are allowed")
    return used


def _require_equal(expected: Any, actual: Any, message: str) -> None:
    """Raise unless two score matrices are equal to within rounding."""
    first, second = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if first.shape != second.shape:
        raise _FailedError(f"{message}: shapes {list(first.shape)} and {list(second.shape)}")
    scale = np.abs(np.where(np.isfinite(first), first, 0)).max(axis=-1, keepdims=True, initial=1e-30)
    with np.errstate(invalid="ignore"):
        close = (np.abs(first - second) <= TOLERANCE * scale) | (first == second) | (np.isnan(first) & np.isnan(second))
    if not close.all():
        row, column = np.argwhere(~close)[0]
        values = f"{first[row, column]:.6g} and {second[row, column]:.6g}"
        raise _FailedError(f"{message}: {(~close).sum():,} of {close.size:,}, such as {values}")


#: Every check by name, in the order in which they run.
CHECKS: dict[str, Callable[[Subject], str]] = {
    "settings": _check_settings,
    "fit": _check_fit,
    "shapes": _check_shapes,
    "learns-from": _check_domains,
    "determinism": _check_determinism,
    "test-events": _check_test_events,
    "finite-scores": _check_finite,
    "catalogue-and-candidates": _check_catalogue,
    "candidate-order": _check_order,
    "batches": _check_batches,
    "vectors": _check_vectors,
    "memory": _check_memory,
}
