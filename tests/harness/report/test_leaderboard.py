"""The text of leaderboards: overview, tables, marks and remarks."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.methods.api import DotProduct, NoSettings
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.results.failure import FailureRecord, write_failure
from harness.results.files import read_result
from harness.suites import load_suite, shipped_suite


class Fixed:
    """A method with random vectors, different for each seed."""

    settings = NoSettings()
    reference: str | None = "target-only"

    def learns_from(self, target, sources):
        return (target, *sources)

    def fit(self, data, context):
        rng = np.random.default_rng(context.seed)
        items = rng.normal(size=(len(data.target_domain.catalogue), 6)).astype(np.float32)
        users = rng.normal(size=(len(data.target_domain.user_ids), 6)).astype(np.float32)
        return DotProduct(items, lambda histories: users[histories.users])


def run_all(toy, methods=("popularity", "fixed"), seeds=(0, 1)) -> Path:
    """Run methods on both toy scenarios; return the results folder."""
    toy.add("fixed", Fixed)
    toy.run(*methods, seeds=seeds)
    return toy.out / "results"


def test_figures_are_means_of_the_ranks_metrics(toy) -> None:
    board = collect(run_all(toy), "toy", 1)
    text = leaderboard(board)
    for scenario, entries in board.scenarios.items():
        for entry in entries:
            row = next(
                line
                for line in text.partition(f"## {scenario}\n")[2].splitlines()
                if re.match(rf"\| (\*\*)?{entry.method}", line)
            )
            figure = float(re.search(r"0\.\d{4}", row)[0])
            parts = [
                read_result(toy.out / "results" / r.path)[1].metrics("full")["all"]["ndcg@10"] for r in entry.results
            ]
            assert figure == pytest.approx(np.mean(parts), abs=5e-5)


def test_text_is_reproducible_and_the_title_warns_of_few_seeds(toy) -> None:
    results = run_all(toy)
    text = leaderboard(collect(results, "toy", 1))
    assert text == leaderboard(collect(results, "toy", 1))
    assert text.startswith("# toy v1 (only 2 seeds)\n")
    assert "retrieved-15 is not measured" not in text
    assert "- retrieved-15 has no column: its users' figures are those of `full`" in text
    run_all(toy, seeds=(0, 1, 2))
    assert leaderboard(collect(results, "toy", 1)).startswith("# toy v1\n")


def test_best_method_is_bold_and_an_equal_one_is_marked(toy) -> None:
    toy.add("copy", Fixed)
    text = leaderboard(collect(run_all(toy, methods=("fixed", "copy")), "toy", 1))
    table = text.partition("## left-from-right\n")[2]
    assert re.search(r"\| \*\*copy\*\* +\| +\*\*0\.\d{4} ± 0\.\d{4}\*\* ", table)
    assert re.search(r"\| fixed +\| +0\.\d{4} ± 0\.\d{4}† ", table)


def test_missing_results_are_listed(toy) -> None:
    results = run_all(toy)
    for path in (results / "toy" / "v1" / "left-from-right").glob("fixed-*"):
        path.unlink()
    assert "**Incomplete:** no result of fixed on left-from-right." in leaderboard(collect(results, "toy", 1))


def test_suite_methods_without_results_are_listed(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_all(toy)
    assert "nothing at all" not in leaderboard(collect(results, "toy", 1))
    extended = replace(toy.suite, methods=(*toy.suite.methods, "never-made"), more_methods=("on-request",))
    monkeypatch.setattr("harness.report.remarks.shipped_suite", lambda name, version: extended)
    expected = "\n**Incomplete:** nothing at all yet of what the suite has too: never-made.\n"
    assert expected in leaderboard(collect(results, "toy", 1))
    assert shipped_suite("toy", 1) is None
    assert shipped_suite("cdsr", 1) == load_suite("cdsr/v1")


def test_stored_runs_are_not_missing_from_a_new_plan(toy) -> None:
    run_all(toy)
    assert toy.run("popularity", "fixed", dry_run=True).plan.missing == ()


def test_markup_in_names_and_causes_is_escaped(toy) -> None:
    name = "mine|[bold]*x*"
    toy.add(name, Fixed)
    results = run_all(toy, methods=("popularity", name))
    scenario = toy.suite.scenarios[0].name
    record = FailureRecord(
        suite="toy",
        suite_version=1,
        scenario=scenario,
        method="other|one",
        seed=0,
        cause="no | such\n# thing",
        created="now",
    )
    write_failure(record, results)
    write_failure(record.model_copy(update={"scenario": "never", "method": name}), results)
    write_failure(record.model_copy(update={"method": "popularity", "seed": 1}), results)
    text = leaderboard(collect(results, "toy", 1))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "mine" in line or "other" in line}
    assert widths <= {len(re.findall(r"(?<!\\)\|", line)) for line in tables if line.startswith("|:")}
    assert r"| mine\|\[bold\]\*x\*" in text or r"| **mine\|\[bold\]\*x\***" in text
    main = text.partition(f"### {scenario}: full catalogue, all users\n")[2]
    row = next(line for line in main.splitlines() if line.startswith(r"| other\|one"))
    assert [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[2:]] == ["*failed*", *"–––", ""]
    assert r"- other\|one, seed 0, failed: no \| such # thing" in text.splitlines()
    earlier = "- popularity, seed 1, failed: no \\| such # thing The figures above are those of an earlier run."
    assert earlier in text.splitlines()
    assert "## never\n\nNo run came to a result.\n" in text
    assert "no result of other" not in text


class Reranked(Fixed):
    """A method whose scores reverse the order of its vectors' products."""

    def fit(self, data, context):
        scorer = super().fit(data, context)

        class Scorer:
            item_vectors, history_vectors = scorer.item_vectors, scorer.history_vectors

            def score(self, histories, candidates):
                return -scorer.score(histories, candidates)

        return Scorer()


def unwrapped(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def section(text: str, heading: str) -> str:
    """The part of a board under a heading, up to the next one."""
    return re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], flags=re.MULTILINE)[0]


def cells(text: str, heading: str) -> dict[str, dict[str, str]]:
    """The table under a heading: method without marks -> column -> cell without bold."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("|")]
    first, _, *rows = [[cell.strip(" *") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {re.sub("[§‡]", "", row[0]): dict(zip(first, row, strict=True)) for row in rows}


def test_an_index_that_equals_full_ranking_has_no_column(toy) -> None:
    text = leaderboard(collect(run_all(toy), "toy", 1))
    assert "by candidate set" not in text
    toy.add("reranked", Reranked)
    board = collect(run_all(toy, methods=("popularity", "fixed", "reranked")), "toy", 1)
    text = leaderboard(board)
    column = {
        method: row["retrieved-15"]
        for method, row in cells(text, "left-from-right: NDCG@10, by candidate set, all users").items()
    }
    ranks = next(e for e in board.scenarios["left-from-right"] if e.method == "reranked")
    assert column["fixed"] == "as full"
    assert column["popularity"] == "–"
    assert column["reranked"] == f"{ranks.values('retrieved-15', 'ndcg@10').mean():.4f}"
    assert "retrieved-15 is not measured for popularity: no item vectors" in text


def test_scores_that_differ_from_the_vectors_products_are_refused(toy) -> None:
    class NegatedScorer(DotProduct):
        def score(self, histories, candidates):
            return -super().score(histories, candidates)

    class Inconsistent(Fixed):
        def fit(self, data, context):
            scorer = super().fit(data, context)
            return NegatedScorer(scorer._items, scorer._encode)

    toy.add("inconsistent", Inconsistent)
    with pytest.raises(HarnessError, match=r"left-from-right: retrieved-15 differs from full for \d+ of 30"):
        run_all(toy, methods=("inconsistent",))


def test_users_without_finite_scores_are_reported_at_the_top(toy) -> None:
    class Partial(Fixed):
        """A method that scores no item for every third user."""

        def fit(self, data, context):
            scorer = super().fit(data, context)

            class Scorer:
                def score(self, histories, candidates):
                    scores = scorer.score(histories, candidates)
                    scores[histories.users % 3 == 0] = -np.inf
                    return scores

            return Scorer()

    toy.add("partial", Partial)
    results = run_all(toy, methods=("popularity", "partial"))
    text = unwrapped(leaderboard(collect(results, "toy", 1)))
    for candidates in ("full", "sampled-10"):
        expected = (
            f"**No scores:** partial on left-from-right gives no candidate of {candidates} a finite score for 10 "
        )
        assert expected in text.partition("## Overview")[0]
    assert "(33.3%), who count as misses" in text
    assert "popularity on" not in text.partition("## Overview")[0]
    result, table = read_result(results / "toy/v1/left-from-right/partial-seed0.json")
    assert result.candidates["full"].unscored == 10
    assert table.ranks["full"].unscored.sum() == 10


@pytest.mark.parametrize("n_differing", [0, 1, 2])
def test_nearly_equal_methods_are_both_marked(toy, n_differing: int) -> None:
    class NearlyEqual(Fixed):
        """A method that reverses the order of items for the first users."""

        def __init__(self, n_reversed: int) -> None:
            self.n_reversed = n_reversed

        def fit(self, data, context):
            def scores(histories, candidates):
                rows = np.tile(np.arange(len(data.target_domain.catalogue), dtype=np.float32), (len(histories), 1))
                rows[histories.users < self.n_reversed] *= -1
                return rows if candidates is None else np.take_along_axis(rows, candidates, axis=1)

            return type("Scorer", (), {"score": staticmethod(scores)})()

    toy.add("one", lambda: NearlyEqual(0))
    toy.add("other", lambda: NearlyEqual(n_differing))
    text = leaderboard(collect(run_all(toy, methods=("one", "other")), "toy", 1))
    assert text.count("†: ") == 1
    # Both are marked: no test can distinguish them.
    assert len(re.findall(r"± 0\.\d{4}†", text)) == 2


def test_share_of_cold_users_is_shown(toy) -> None:
    board = collect(run_all(toy), "toy", 1)
    sizes = next(iter(board.scenarios["left-from-right"])).results[0].slices
    share = f"{sizes['cold_users']:,} (the {sizes['cold_users'] / sizes['all']:.1%} with the shortest histories)"
    assert f"of them cold {share}" in unwrapped(leaderboard(board))


def test_recall_of_an_approximate_index_is_shown_with_its_interval(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evaluation.rank_scorer.EXACT_UP_TO", 10)
    monkeypatch.setattr("harness.evaluation.rank_scorer.rank_retrieved.__defaults__", (0.2, 10, lambda *_: None))
    toy.suite = toy.replace(toy.suite, least_recall=0.2)
    results = run_all(toy)
    record = read_result(results / "toy/v1/left-from-right/fixed-seed0.json")[0].candidates["retrieved-15"]
    assert record.recall_users == 30
    assert record.recall_interval == (record.recall, record.recall)  # of all thirty users, so exact
    board = collect(results, "toy", 1)
    least = min(r.candidates["retrieved-15"].recall for r in board.results if r.method == "fixed")
    line = f"finds {least:.4f} of what an exact one does (95 % confidence interval {least:.4f} to {least:.4f}, from 30"
    assert line in unwrapped(leaderboard(board))
