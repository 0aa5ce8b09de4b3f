"""A page of a paper's claims, each with what the boards say of it: a pure function of a claims file and results.

The file beside the page holds the claims in YAML; the format is `Claims`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError
from harness.protocol.significance import MeanInterval, mean_interval
from harness.report.collect import Board, Entry
from harness.report.comparison import MAIN, Gain, compare_over_scenarios
from harness.report.markdown import escaped, table

#: A method costs no more if its scoring takes at most this many times as long.
_COST_TOLERANCE = 1.1

Verdict = Literal["holds", "does not hold", "cannot be told"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Versus(_Strict):
    """Two methods, one over the other.

    Attributes:
        of: the method that the claim is about.
        over: the method that it is compared with.
        slice: of users; `all` for everyone.
    """

    of: str
    over: str
    slice: str = "all"


class Claim(_Strict):
    """One claim, tested by the gain of a method over another or by what their scoring costs.

    Attributes:
        claim: one sentence.
        gain: the claim holds if NDCG@10 is higher.
        cost: the claim holds if scoring takes no longer.
        decide: what would decide it.
    """

    claim: str
    gain: Versus | None = None
    cost: Versus | None = None
    decide: str

    @model_validator(mode="after")
    def _one_test(self) -> "Claim":
        if (self.gain is None) == (self.cost is None):
            raise ValueError("a claim has either `gain` or `cost`")
        return self


class Claims(_Strict):
    """A claims file.

    Attributes:
        title: of the page.
        source: the paper.
        setting: what differs between the paper's setting and the boards'.
        suites: boards that test the claims, as `name/v1`.
        claims: the claims.
    """

    title: str
    source: str
    setting: str
    suites: tuple[Annotated[str, Field(pattern=r"^[\w-]+/v\d+$")], ...]
    claims: tuple[Claim, ...]


def read_claims(path: Path) -> Claims:
    """Read a claims file.

    Raises:
        HarnessError: it cannot be read, or a field is missing, unknown or wrong.
    """
    try:
        return Claims.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HarnessError(f"Cannot read {path}: {error}.", "Fix the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise HarnessError(f"{path}: {place}: {first['msg']}.", "See `harness.report.claims.Claims`.") from error


def claim_page(claims: Claims, board_of: Callable[[str], Board | None]) -> str:
    """The page as markdown.

    Args:
        claims: the claims.
        board_of: returns the board of a suite such as `cdsr/v2`, or None if it has no results.
    """
    return "\n".join(
        [
            f"# {claims.title}",
            "",
            "Derived from result files by `harness leaderboard`; do not edit. The claims are in the YAML file of the "
            "same name.",
            "",
            *claim_sections(claims, board_of),
            "",
        ]
    )


def claim_sections(claims: Claims, board_of: Callable[[str], Board | None]) -> list[str]:
    """The page below its title; see `claim_page`."""
    boards = {suite: board_of(suite) for suite in claims.suites}
    with_results = {suite: board for suite, board in boards.items() if board is not None}
    gains = {suite: _Gains(board, claims) for suite, board in with_results.items()}
    lines = [
        f"Source: {claims.source}.",
        "",
        "A gain is a difference in NDCG@10, the mean over a suite's scenarios, seeds and users, with a 95 % interval. "
        "A claim *holds* if its gain is above 0, and *does not hold* if it is below, by a randomisation test over "
        "users and seeds that holds the error over all gains among the same candidates and users at 5 %. Otherwise "
        "it *cannot be told*; with one seed nothing can. A claim on cost holds if the interval of the ratio ends at "
        f"{_COST_TOLERANCE} or below.",
        "",
        f"What differs from the paper: {claims.setting.strip()}",
    ]
    missing = [f"`{suite}`" for suite, board in boards.items() if board is None]
    if missing:
        lines += ["", f"No results yet: {', '.join(missing)}."]
    for number, claim in enumerate(claims.claims, 1):
        lines += ["", f"## {number}. {claim.claim}", ""]
        if claim.gain:
            rows = [row for suite in with_results for row in gains[suite].rows(claim.gain)]
            headings = ["suite", "candidates", "seeds", "gain", "above 0", "verdict"]
        else:
            assert claim.cost is not None  # noqa: S101 - a claim has one of both
            rows = [row for suite, board in with_results.items() for row in _cost_rows(suite, board, claim.cost)]
            headings = ["suite", "runs", "scoring time, ratio", "verdict"]
        lines.append(_tested(claim))
        lines += ["", table(headings, rows) if rows else "No board has both rows."]
        lines += ["", f"What would decide it: {claim.decide}"]
    return lines


def _tested(claim: Claim) -> str:
    if claim.cost:
        return f"Tested by the scoring time of `{claim.cost.of}` over that of `{claim.cost.over}`, run by run."
    assert claim.gain is not None  # noqa: S101 - a claim has one of both
    users = "" if claim.gain.slice == "all" else f", users of the slice `{claim.gain.slice}`"
    return f"Tested by the gain of `{claim.gain.of}` over `{claim.gain.over}`{users}."


class _Gains:
    """The gains that the claims are about, tested together."""

    def __init__(self, board: Board, claims: Claims) -> None:
        self._board = board
        tests = [claim.gain for claim in claims.claims if claim.gain]
        sampled = {name for result in board.results for name in result.candidates if name.startswith("sampled-")}
        self._candidates = (MAIN[0], *sorted(sampled))
        self._gains: dict[tuple[str, str], tuple[int, Mapping[tuple[str, str], Gain]]] = {}
        for slice_name in {test.slice for test in tests}:
            pairs = [(test.of, test.over) for test in tests if test.slice == slice_name]
            for candidates in self._candidates:
                comparison = compare_over_scenarios(board, candidates, slice_name=slice_name)
                seeds = comparison.values.shape[1]
                self._gains[candidates, slice_name] = seeds, comparison.gains(pairs)

    def rows(self, test: Versus) -> Iterator[list[str]]:
        """A row for each candidate set whose board has both methods on all scenarios."""
        for candidates in self._candidates:
            seeds, gains = self._gains[candidates, test.slice]
            gain = gains.get((test.of, test.over))
            if gain is None:
                continue
            above = [
                _mean(entries, test.of, candidates, test.slice) > _mean(entries, test.over, candidates, test.slice)
                for entries in self._board.scenarios.values()
            ]
            yield [
                f"{self._board.suite}/v{self._board.version}",
                candidates,
                str(seeds),
                _signed(gain.figure),
                f"{sum(above)} of {len(above)}",
                verdict(gain.figure.mean, gain.is_found),
            ]


def verdict(mean: float, is_found: bool) -> Verdict:
    """What a gain says of the claim that it is above 0."""
    if not is_found:
        return "cannot be told"
    return "holds" if mean > 0 else "does not hold"


def _mean(entries: Sequence[Entry], method: str, candidates: str, slice_name: str) -> float:
    return next(entry.mean(*(candidates, MAIN[1]), slice_name) or 0.0 for entry in entries if entry.method == method)


def _signed(figure: MeanInterval) -> str:
    return f"{figure.mean:+.4f} ± {figure.half_width:.4f}"


def _cost_rows(suite: str, board: Board, test: Versus) -> Iterator[list[str]]:
    """The ratio of scoring times, over scenarios and seeds, by a t interval of its logarithm."""
    ratios = []
    for entries in board.scenarios.values():
        seconds = [
            {result.seed: result.cost.score_s for result in entry.results}
            for method in (test.of, test.over)
            for entry in entries
            if entry.method == method
        ]
        if len(seconds) == 2:
            ratios += [seconds[0][seed] / seconds[1][seed] for seed in seconds[0].keys() & seconds[1].keys()]
    if len(ratios) < 2:
        return
    figure = mean_interval(np.log(ratios)[None])
    low, middle, high = np.exp([figure.mean - figure.half_width, figure.mean, figure.mean + figure.half_width])
    verdict = "holds" if high <= _COST_TOLERANCE else "does not hold" if low > _COST_TOLERANCE else "cannot be told"
    yield [escaped(suite), str(len(ratios)), f"{middle:.2f} ({low:.2f} to {high:.2f})", verdict]
