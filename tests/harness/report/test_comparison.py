"""What boards say of differences: marks, ranks, groups and gains, and what they say with too few seeds."""

import re
from dataclasses import replace

import numpy as np
import pytest

from harness.protocol.significance import mean_interval
from harness.report.collect import Board
from harness.report.comparison import compare, compare_over_scenarios
from harness.report.leaderboard import leaderboard
from harness.report.overview import overview
from harness.report.reference import reference_row
from tests.harness.report.test_leaderboard import cells, section


def with_values(board: Board, monkeypatch: pytest.MonkeyPatch, gain: float = 0.4) -> Board:
    """The board with generated values: the same for all methods but for noise, and higher by `gain` for `better`."""
    order = {"base": 0, "better": 1, "one": 2, "two": 3}

    def values(entry, candidates, metric, slice_name="all"):
        if candidates.startswith("retrieved"):
            return None
        users = len(entry.tables[0].users)
        common = np.random.default_rng(users).random(users) / 2
        seeds = [np.random.default_rng([order[entry.method], r.seed]).normal(0, 0.05, users) for r in entry.results]
        return common + np.array(seeds) + gain * (entry.method == "better")

    monkeypatch.setattr("harness.report.collect.Entry.values", values)
    return board


def with_seeds(board: Board, numbers: dict[str, int], scenario: str | None = None) -> Board:
    """The board with fewer seeds of some methods."""
    scenarios = {
        name: tuple(
            replace(e, results=e.results[: numbers.get(e.method, 3)], tables=e.tables[: numbers.get(e.method, 3)],
                    paths=e.paths[: numbers.get(e.method, 3)])
            if scenario in (None, name)
            else e
            for e in entries
        )
        for name, entries in board.scenarios.items()
    }  # fmt: skip
    return replace(board, scenarios=scenarios)


METHODS = ("base", "better", "one", "two")
MAIN_TABLE = "left-from-right: full catalogue, all users"


def test_rows_that_cannot_be_told_apart_are_marked(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    text = leaderboard(with_values(board, monkeypatch, gain=0.0))
    assert len(re.findall(r"± 0\.\d{4}†", section(text, MAIN_TABLE))) == 3
    text = leaderboard(with_values(board, monkeypatch))
    assert "†" not in section(text, MAIN_TABLE)
    assert "\nSeeds: 3.\n" in section(text, "left-from-right")


def test_ranks_and_groups(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = overview(with_values(board, monkeypatch))
    rows = cells("\n".join(shown.markdown), f"Overview: {shown.summary.title}")
    assert [(rows[name]["rank"], rows[name]["group"]) for name in METHODS] == [
        ("2–4", "b"),
        ("1", "a"),
        *[("2–4", "b")] * 2,
    ]
    assert "Rank: " in shown.note


def test_gains_over_the_reference_row(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board = with_values(board, monkeypatch)
    assert reference_row(board) == "base"
    shown = overview(board)
    summary = cells("\n".join(shown.markdown), f"Overview: {shown.summary.title}")
    comparison = compare_over_scenarios(board)
    values = dict(zip(comparison.methods, comparison.values, strict=True))
    assert summary["base"]["gain over base"] == "–"
    for method in ("better", "one", "two"):
        figure = mean_interval(values[method] - values["base"], comparison.spread)
        assert summary[method]["gain over base"] == f"{figure.mean:+.4f} ± {figure.half_width:.4f}"
        by_scenario = [dict(zip(METHODS, compare(e).values, strict=True)) for e in board.scenarios.values()]
        assert figure.mean == pytest.approx(np.mean([of[method].mean() - of["base"].mean() for of in by_scenario]))
    text = leaderboard(board)
    first = compare(board.scenarios["left-from-right"])
    gain = mean_interval(first.values[1] - first.values[0], first.spread)
    assert cells(text, MAIN_TABLE)["better"]["gain over base"] == f"{gain.mean:+.4f} ± {gain.half_width:.4f}"


def test_gains_are_found_on_every_set_of_candidates(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    text = leaderboard(with_values(board, monkeypatch))
    for heading in ("NDCG@10, all users, mean over scenarios", "left-from-right, NDCG@10, all users"):
        rows = section(text, f"Transfer: {heading}").splitlines()
        assert "gain, sampled-10" in next(row for row in rows if "| method" in row)
        gains = {
            row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[3:5]] for row in rows if "base" in row
        }
        assert all(re.fullmatch(r"\*\*\+0\.4\d+ ± 0\.\d{4}\*\*", cell) for cell in gains["better"])
        assert not any("*" in cell for name in ("one", "two") for cell in gains[name])


def test_with_one_seed_nothing_is_marked_and_intervals_are_over_users_only(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = with_seeds(with_values(board, monkeypatch), dict.fromkeys(METHODS, 1))
    text = leaderboard(single)
    assert "†" not in text
    assert "**users only**" in text
    assert "\nSeeds: 1. No row is marked; ± is over users only.\n" in section(text, "left-from-right")
    assert "| rank |" not in re.sub(" +", " ", text)
    assert "There are no ranks" in text
    assert not re.search(r"\*\*[+-]", text)


def test_scenarios_with_other_numbers_of_seeds_say_so(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = with_seeds(with_values(board, monkeypatch, gain=0.0), dict.fromkeys(METHODS, 1), "left-from-right")
    text = leaderboard(mixed)
    assert "\nSeeds: 1. No row is marked; ± is over users only.\n" in section(text, "left-from-right")
    others = [name for name in board.scenarios if name != "left-from-right"]
    assert all("\nSeeds: 3.\n" in section(text, name) for name in others)
    assert "†: " in text
    assert "There are no ranks" in text


def test_a_row_with_one_seed_among_others_has_no_mark(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = with_seeds(with_values(board, monkeypatch, gain=0.0), {"two": 1})
    entries = mixed.scenarios["left-from-right"]
    assert compare(entries).methods == ("base", "better", "one")
    text = leaderboard(mixed)
    seeds = "\nSeeds: 1 to 3. One seed, so no mark, and ± over users only: two.\n"
    assert seeds in section(text, "left-from-right")
    marked = re.findall(r"^\| (\w+) .*†", section(text, MAIN_TABLE), re.MULTILINE)
    assert marked
    assert "two" not in marked
    # Its gain is that on the seed that it shares with its reference.
    by_method = {entry.method: entry for entry in entries}
    expected = (by_method["two"].values("full", "ndcg@10")[0] - by_method["base"].values("full", "ndcg@10")[0]).mean()
    assert f"{expected:+.4f} ±" in section(text, "Transfer: left-from-right, NDCG@10, all users")


def test_rows_without_a_seed_in_common_are_not_compared(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = with_values(board, monkeypatch).scenarios["left-from-right"][:2]
    other = replace(two, results=tuple(r.model_copy(update={"seed": r.seed + 10}) for r in two.results))
    assert compare((one, other)).methods == ()
    assert not compare((one, other)).is_tested
    assert compare((one, other)).same_as(one.method) == set()
    assert compare((one, other)).gains([(one.method, other.method)]) == {}


def test_a_method_without_results_on_a_scenario_has_no_rank(board: Board) -> None:
    board.scenarios["left-from-right"] = board.scenarios["left-from-right"][:-1]
    assert compare_over_scenarios(board).methods == ("base", "better", "one")
    rows = cells("\n".join(overview(board).markdown), f"Overview: {overview(board).summary.title}")
    assert [rows["two"][column] for column in ("NDCG@10", "gain over base", "rank", "group")] == ["–"] * 4
