"""Every table of the committed boards that ranks, lists or records of cost give, computed anew cell by cell."""

import re
from collections.abc import Callable
from functools import cache, cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tests.recomputation import figures
from tests.recomputation.figures import Suite, interval, tables

ROOT = Path(__file__).parents[2] / "leaderboards"
BOARDS = sorted([*ROOT.glob("*-v*.md"), *(ROOT / "experiments").glob("*-v*.md")])
MAIN = "ndcg@10"
SLICES = {
    "cold users": "cold_users",
    "cold items": "cold_items",
    "head items": "head_items",
    "tail items": "tail_items",
}

#: A p-value of random draws this close to .05 may fall on either side of it.
UNSURE = (0.035, 0.065)


def plain(cell: str) -> str:
    """A cell without bold and marks."""
    return re.sub(r"[*†‡§ᴬᴹ\\]|<[^>]*>", "", cell).strip()


def numbers(cell: str) -> list[float]:
    return [float(text.replace(",", "")) for text in re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?", plain(cell))]


def same(cell: str, *expected: float, slack: float = 0.0) -> bool:
    """Whether a cell shows these numbers, rounded as it shows them; a dash stands for none."""
    shown = numbers(cell)
    decimals = [len(text.partition(".")[2]) for text in re.findall(r"\d[\d,]*(?:\.\d+)?", plain(cell))]
    return len(shown) == len(expected) and all(
        abs(a - b) <= 0.5 * 10.0**-d * (1 + 1e-6) + slack for a, b, d in zip(shown, expected, decimals, strict=True)
    )


class Board:
    """A board's page beside the results that it was made from."""

    def __init__(self, path: Path) -> None:
        name, _, version = path.stem.rpartition("-")
        self.text = path.read_text(encoding="utf-8")
        self.suite = Suite(path.parent / "results" / name / version)
        self.tables = list(tables(self.text))
        self.checked = 0

    @cached_property
    def scenarios(self) -> list[str]:
        return sorted(self.suite.scenarios)

    @cached_property
    def short(self) -> dict[str, str]:
        """Scenario of each abbreviated heading."""
        return dict(re.findall(r"\b(S\d+): \[([^\]]+)\]", self.text.replace("\n", " ")))

    @cache  # noqa: B019 - boards live as long as the tests
    def block(self, scenario: str, candidates: str = "full") -> tuple[list[str], np.ndarray]:
        methods, seeds = self.suite.compared([scenario])
        known = f"{candidates}/above"
        methods = [m for m in methods if all(known in self.suite.scenarios[scenario][m][s].ranks for s in seeds)]
        return methods, self.suite.block(scenario, methods, seeds, candidates, MAIN)

    @cache  # noqa: B019
    def spread(self, scenario: str, candidates: str = "full") -> figures.Spread:
        return figures.spread(self.block(scenario, candidates)[1])

    @cache  # noqa: B019
    def overall(self, candidates: str = "full", users: str = "all") -> tuple[list[str], np.ndarray]:
        """The methods over all scenarios, one value a person of a slice."""
        methods, seeds = self.suite.compared(self.scenarios)
        blocks, names = [], []
        for scenario in self.scenarios:
            members = self.first(scenario).ranks[f"slice/{users}"]
            blocks.append(self.suite.block(scenario, methods, seeds, candidates, MAIN)[:, :, members])
            names.append([user for (user, _), kept in zip(self.first(scenario).users, members, strict=True) if kept])
        return methods, figures.over_scenarios(blocks, names)

    def first(self, scenario: str) -> figures.Result:
        return next(iter(next(iter(self.suite.scenarios[scenario].values())).values()))

    def results(self, scenario: str, method: str) -> list[figures.Result]:
        return list(self.suite.scenarios[scenario].get(method, {}).values())

    def mean(
        self, scenario: str, method: str, candidates: str = "full", metric: str = MAIN, users: str = "all"
    ) -> float:
        return float(np.mean([r.mean(candidates, metric, users) for r in self.results(scenario, method)]))

    def seconds(self, scenario: str, method: str) -> float:
        costs = [[part["cpu_s"] for part in r.record["cost"]["artefacts"]] for r in self.results(scenario, method)]
        return float(np.mean([sum(cost) for cost in costs]))

    def gain(self, scenario: str, method: str, other: str, candidates: str = "full") -> tuple[float, float] | None:
        methods, block = self.block(scenario, candidates)
        if method not in methods or other not in methods:
            return None
        difference = block[methods.index(method)] - block[methods.index(other)]
        return interval(difference, self.spread(scenario, candidates))

    def check(self, cell: str, *expected: float, where: object, slack: float = 0.0) -> None:
        assert same(cell, *expected, slack=slack), (where, cell, expected)
        self.checked += len(expected)


@cache
def board(path: Path) -> Board:
    return Board(path)


pytestmark = pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)


def rows(page: Board, pattern: str) -> list[tuple[re.Match[str], dict[str, str]]]:
    """Rows of the tables below headings that match."""
    return [
        (match, dict(zip(header, row, strict=True)))
        for headings, header, body in page.tables
        if headings and (match := re.fullmatch(pattern, headings[-1]))
        for row in body
        if plain(row[0]) not in ("", "published")
    ]


def is_run(page: Board, scenario: str, row: dict[str, str]) -> bool:
    """Whether a row is of results; if not, it says that its runs failed or were skipped."""
    known = plain(row["method"]) in page.suite.scenarios.get(scenario, {})
    assert known or {"failed", "skipped"} & set(map(plain, row.values())), row
    return known


def test_tables_of_scenarios(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"(\S+): full catalogue, all users.*"):
        scenario, method = match[1], plain(row["method"])
        if not is_run(page, scenario, row):
            continue
        methods, block = page.block(scenario)
        for heading, cell in row.items():
            where, kind = (scenario, method, heading), heading.lower()
            if kind == "ndcg@10" and method in methods:
                page.check(cell, *interval(block[methods.index(method)], page.spread(scenario)), where=where)
            elif kind in ("hr@10", "mrr@10"):
                page.check(cell, page.mean(scenario, method, metric=kind), where=where)
            elif kind.startswith("ndcg@10, ") and plain(cell) != "–":
                page.check(cell, page.mean(scenario, method, kind.removeprefix("ndcg@10, ")), where=where)
            elif kind.startswith("gain over ") and plain(cell) != "–":
                gain = page.gain(scenario, method, kind.removeprefix("gain over "))
                if gain is not None:
                    page.check(cell, *gain, where=where)
            elif kind == "cpu-s" and plain(cell) != "–":
                page.check(cell, page.seconds(scenario, method), where=where)
    assert page.checked


def test_tables_of_slices_and_candidates(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"(\S+): NDCG@10, full catalogue, by slice"):
        if is_run(page, match[1], row):
            method = plain(row["method"])
            for heading, cell in row.items():
                if heading in SLICES and plain(cell) != "–":
                    expected = page.mean(match[1], method, users=SLICES[heading])
                    page.check(cell, expected, where=(match[0], method, heading))
    for match, row in rows(page, r"(\S+): NDCG@10, by candidate set, all users"):
        if is_run(page, match[1], row):
            method = plain(row["method"])
            for heading, cell in list(row.items())[1:]:
                if plain(cell) != "–":
                    page.check(cell, page.mean(match[1], method, heading), where=(match[0], method, heading))


def test_overview(path: Path) -> None:
    page = board(path)
    for _, row in rows(page, r"Overview: NDCG@10, full catalogue, all users.*"):
        method = plain(row["method"])
        means = {name: page.mean(name, method) for name in page.scenarios if method in page.suite.scenarios[name]}
        for heading, cell in row.items():
            if plain(cell) == "–":
                continue
            if heading == "NDCG@10":
                page.check(cell, float(np.mean(list(means.values()))), where=(method, heading))
            elif (scenario := page.short.get(heading, heading)) in means:
                page.check(cell, means[scenario], where=(method, heading))
            elif heading.startswith("gain over "):
                methods, block = page.overall()
                difference = block[methods.index(method)] - block[methods.index(heading.removeprefix("gain over "))]
                page.check(cell, *interval(difference, figures.spread(block)), where=(method, heading))
            elif heading == "CPU-s":
                expected = np.mean([page.seconds(scenario, method) for scenario in means])
                page.check(cell, float(expected), where=(method, heading))


def _differ(block: np.ndarray) -> Callable[[int, int], bool | None]:
    """Whether two rows differ by a test of all pairs; None where the draws leave it open."""
    pairs = list(combinations(range(len(block)), 2))
    p_values = dict(zip(pairs, figures.adjusted_p(block, pairs, figures.spread(block)), strict=True))

    def differ(a: int, b: int) -> bool | None:
        p = p_values[min(a, b), max(a, b)]
        return None if UNSURE[0] <= p <= UNSURE[1] else p < 0.05

    return differ


def test_marks(path: Path) -> None:
    page = board(path)
    for scenario in page.scenarios:
        methods, block = page.block(scenario)
        shown = {
            plain(row["method"]): row for m, row in rows(page, rf"{re.escape(scenario)}: full catalogue, all users.*")
        }
        if block.shape[1] < 2 or len(methods) < 2:
            assert not any("†" in row["NDCG@10"] for row in shown.values())
            continue
        differ = _differ(block)
        best = next(methods.index(method) for method, row in shown.items() if "**" in row["method"])
        assert block.mean((1, 2))[best] >= block.mean((1, 2)).max() - 1e-12
        for number, method in enumerate(methods):
            if number != best and (expected := differ(best, number)) is not None:
                assert ("†" not in shown[method]["NDCG@10"]) == expected, (scenario, method)
                page.checked += 1


def test_ranks_and_groups(path: Path) -> None:
    page = board(path)
    table = {plain(row["method"]): row for _, row in rows(page, r"Overview: NDCG@10.*mean over scenarios")}
    methods, block = page.overall() if table else ([], np.empty((0, 1, 0)))
    if block.shape[1] < 2 or len(methods) < 2:
        assert all(row.get("rank", "–") == "–" for row in table.values())
        return
    differ, means = _differ(block), block.mean((1, 2))
    others = range(len(methods))
    for a, method in enumerate(methods):
        above = [differ(a, b) for b in others if b != a and means[b] > means[a]]
        below = [differ(a, b) for b in others if b != a and means[b] < means[a]]
        shown = numbers(table[method]["rank"].replace("–", " "))
        assert 1 + above.count(True) <= shown[0] <= 1 + above.count(True) + above.count(None), method
        assert len(methods) - below.count(True) - below.count(None) <= shown[-1] <= len(methods) - below.count(True)
        for b in others:
            share = bool(set(table[method]["group"]) & set(table[methods[b]]["group"]))
            if b != a and (known := differ(a, b)) is not None:
                assert share != known, (method, methods[b])
                page.checked += 1


def test_transfer(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"Transfer: (\S+), NDCG@10, all users"):
        scenario, pair = match[1], (plain(row["method"]), plain(row["against"]))
        for candidates in ("full", "sampled-30"):
            cell = row.get("gain" if candidates == "full" else f"gain, {candidates}", "–")
            if plain(cell) != "–" and (gain := page.gain(scenario, *pair, candidates)):
                page.check(cell, *gain, where=(scenario, pair, candidates))
        methods, block = page.block(scenario)
        if set(pair) <= set(methods):
            a, b = (block[methods.index(method)].mean(0) for method in pair)
            page.check(row["helped"], 100 * float((a - b > 1e-9).mean()), where=(scenario, pair, "helped"))
            page.check(row["hurt"], 100 * float((b - a > 1e-9).mean()), where=(scenario, pair, "hurt"))
    for _, row in rows(page, r"Transfer: NDCG@10, all users, mean over scenarios"):
        pair = (plain(row["method"]), plain(row["against"]))
        above = [page.mean(scenario, pair[0]) - page.mean(scenario, pair[1]) > 1e-9 for scenario in page.scenarios]
        page.check(row["above 0"], sum(above), len(above), where=(pair, "above 0"))
        for candidates in ("full", "sampled-30"):
            cell = row.get("gain" if candidates == "full" else f"gain, {candidates}", "–")
            if plain(cell) == "–":
                continue
            methods, block = page.overall(candidates)
            difference = block[methods.index(pair[0])] - block[methods.index(pair[1])]
            page.check(cell, *interval(difference, figures.spread(block)), where=(pair, candidates))
    for _, row in rows(page, r"What a source adds: .*"):
        scenario, method = row["scenario"], plain(row["method"])
        sources = set(page.first(scenario).record["scenario"]["sources"]) - {row["source"]}
        target = page.first(scenario).record["scenario"]["target"]
        (without,) = (
            name
            for name in page.scenarios
            for s in [page.first(name).record["scenario"]]
            if s["target"] == target
            and set(s["sources"]) == sources
            and s["split"].partition("/")[0] == page.first(scenario).record["scenario"]["split"].partition("/")[0]
        )
        seeds = sorted(set(page.suite.scenarios[scenario][method]) & set(page.suite.scenarios[without][method]))
        blocks = [page.suite.block(name, [method], seeds, "full", MAIN)[0] for name in (scenario, without)]
        page.check(row["gain"], *interval(blocks[0] - blocks[1], page.spread(scenario)), where=(scenario, method))


def test_recommended_lists(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"Recommended: (\S+), full catalogue, all users"):
        results = page.results(match[1], method := plain(row["method"]))
        for heading, cell in list(row.items())[1:]:
            if plain(cell) != "–":
                expected = float(np.mean([result.list_metric(heading) for result in results]))
                page.check(cell, expected, where=(match[1], method, heading))


def test_order_of_candidates(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"Order of candidates: (\S+)"):
        scenario, method, name = match[1], plain(row["method"]), row["candidates"]
        orders = [result.record["prompt_order"][name] for result in page.results(scenario, method)]
        users = [order["users"] for order in orders]
        page.check(row["users"], sum(users), where=(scenario, method))
        for heading, key, factor in (
            ("Kendall's τ", "kendall_tau", 1),
            ("other first item", "other_first", 100),
            ("shown in the first third", "first_third", 100),
        ):
            mean = sum(n * order[key] for n, order in zip(users, orders, strict=True)) / sum(users)
            page.check(row[heading], factor * mean, where=(scenario, method, name, heading))


def test_cost(path: Path) -> None:
    page = board(path)
    for match, row in rows(page, r"Cost: (\S+)"):
        scenario, method = match[1], plain(row["method"])
        target = page.first(scenario).record["scenario"]["target"]
        trainings = [result.record["training"] for result in page.results(scenario, method)]
        expected = {
            "CPU-s": page.seconds(scenario, method),
            "steps": np.mean([sum(t["steps"] for t in own) for own in trainings]),
            "prefixes": np.mean([sum(t["notes"].get("prefixes", {}).get(target, 0) for t in own) for own in trainings]),
            "tokens": np.mean([sum(t["notes"].get("tokens", 0) for t in own) for own in trainings]),
            "weights": np.mean([sum(t["trainable_parameters"] for t in own) for own in trainings]),
        }
        for heading, value in expected.items():
            if plain(row.get(heading, "–")) != "–":
                page.check(row[heading], float(value), where=(scenario, method, heading))


def test_sentences_of_scenarios(path: Path) -> None:
    page = board(path)
    text = re.sub(r"\s+", " ", page.text)
    for scenario in page.scenarios:
        result = page.first(scenario)
        (sentence,) = re.findall(rf"## {re.escape(scenario)} (Target .*?)(?= \| method)", text)
        slices = {name: int(result.ranks[f"slice/{name}"].sum()) for name in ("all", *SLICES.values())}
        shown = re.search(
            r"Test users: ([\d,]+).*? cold ([\d,]+) \(the ([\d.]+)%.*?head ([\d,]+), tail ([\d,]+), cold ([\d,]+)",
            sentence,
        )
        assert shown
        expected = (slices["all"], slices["cold_users"], 100 * slices["cold_users"] / slices["all"])
        expected += tuple(slices[name] for name in ("head_items", "tail_items", "cold_items"))
        for cell, value in zip(shown.groups(), expected, strict=True):
            page.check(cell, value, where=(scenario, sentence))
        target = result.record["data"][result.record["scenario"]["target"]]
        page.check(re.findall(r"\(([\d,]+) users", sentence)[0], target["users"], where=scenario)
        if result.popularity:
            assert target["items"] == len(result.popularity)
            assert target["training_interactions"] == sum(result.popularity.values())
