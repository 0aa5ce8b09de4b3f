"""Leaderboards: their text depends only on result files, and inconsistent files are refused."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.errors import HarnessError
from harness.methods.api import DotProduct, NoSettings
from harness.protocol.ranks import MISSED, Ranks
from harness.report.collect import boards_in, collect
from harness.report.leaderboard import leaderboard
from harness.report.transfer import added_by_source
from harness.results.failure import FailureRecord, write_failure
from harness.results.files import read_result
from harness.results.ranks_table import RankTable
from harness.results.record import ArtefactRecord, RunResult
from harness.storage.files import digest as content_digest
from harness.suites import load_suite, shipped_suite
from harness.suites.published import Published, published
from harness.tuning.record import TrialRecord, Tuning


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
    extended = replace(toy.suite, methods=(*toy.suite.methods, "never-made"))
    monkeypatch.setattr("harness.report.remarks.shipped_suite", lambda name, version: extended)
    expected = "\n**Incomplete:** nothing at all yet of what the suite has too: never-made.\n"
    assert expected in leaderboard(collect(results, "toy", 1))
    assert shipped_suite("toy", 1) is None
    assert shipped_suite("cdsr", 1) == load_suite("cdsr/v1")


def test_stored_runs_are_not_missing_from_a_new_plan(toy) -> None:
    run_all(toy)
    assert toy.run("popularity", "fixed", dry_run=True).plan.missing == ()


def test_repeated_runs_give_the_same_content(toy) -> None:
    first = [r.content_digest() for r in collect(run_all(toy), "toy", 1).results]
    shutil.rmtree(toy.cache)
    shutil.rmtree(toy.out)
    assert [r.content_digest() for r in collect(run_all(toy), "toy", 1).results] == first


def test_metrics_can_be_recomputed_from_the_parquet_file(toy) -> None:
    for path in run_all(toy).rglob("*.json"):
        raw = json.loads(path.read_text())
        table = RankTable.from_parquet(path.with_suffix(".parquet"))
        for name, record in raw["candidates"].items():
            if record["metrics"] is not None:
                assert table.metrics(name) == record["metrics"]


def damage_json(path: Path) -> None:
    path.write_text(path.read_text()[:200])


def damage_field(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["seed"] = "none"
    path.write_text(json.dumps(raw))


def damage_metric(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["candidates"]["full"]["metrics"]["all"]["ndcg@10"] = 0.99
    path.write_text(json.dumps(raw))


def damage_data(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["data"]["left"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(raw))


def rename_result(path: Path) -> None:
    for suffix in (".json", ".parquet", ".lists.parquet"):
        path.with_suffix(suffix).rename(path.with_name(f"other-seed0{suffix}"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, "Corrupt result file .*fixed-seed0.json"),
        (damage_field, "Corrupt result file .*fixed-seed0.json: seed"),
        (damage_metric, "fixed-seed0.json: the metrics on full are not what fixed-seed0.parquet gives"),
        (damage_data, "made with different data"),
        (rename_result, "other-seed0.json holds the result of toy/v1/left-from-right/fixed-seed0.json"),
        (lambda path: path.unlink(), "No result file .*fixed-seed0.json"),
        (lambda path: path.with_suffix(".parquet").unlink(), "No ranks file .*fixed-seed0.parquet"),
        (lambda path: path.with_suffix(".parquet").write_bytes(b"PAR1"), "is not the ranks file that"),
    ],
)
def test_damaged_results_are_refused(toy, damage, message: str) -> None:
    results = run_all(toy)
    damage(results / "toy" / "v1" / "left-from-right" / "fixed-seed0.json")
    with pytest.raises(HarnessError, match=message):
        collect(results, "toy", 1)


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
    row = next(line for line in tables if line.startswith(r"| other\|one"))
    assert [cell.strip() for cell in row.split("|")[3:]] == ["*failed*", "–", "–", ""]
    assert r"- other\|one, seed 0, failed: no \| such # thing" in text.splitlines()
    earlier = "- popularity, seed 1, failed: no \\| such # thing The figures above are those of an earlier run."
    assert earlier in text.splitlines()
    assert "## never\n\nNo run came to a result.\n" in text
    assert "no result of other" not in text


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="No results of toy/v1"):
        collect(tmp_path, "toy", 1)


def test_versions_of_a_suite_have_separate_boards(toy) -> None:
    results = run_all(toy)
    old = leaderboard(collect(results, "toy", 1))
    toy.suite = toy.replace(toy.suite, version=2)
    run_all(toy, methods=("popularity",))
    assert boards_in(results) == [("toy", 1), ("toy", 2)]
    assert leaderboard(collect(results, "toy", 1)) == old
    assert {r.method for r in collect(results, "toy", 2).results} == {"popularity"}


def test_results_with_different_candidates_are_refused(toy) -> None:
    run_all(toy, methods=("popularity",))
    toy.suite = toy.replace(toy.suite, candidate_seed=8)
    results = run_all(toy, methods=("fixed",))
    with pytest.raises(
        HarnessError, match=r"different candidates \(sampled-10 \(seed 7\) instead of sampled-10 \(seed 8\)\)"
    ):
        collect(results, "toy", 1)


def test_transfer_gains_are_paired_by_user(toy) -> None:
    toy.add("target-only", Fixed)

    class Noise(Fixed):
        """Vectors of another seed."""

        def fit(self, data, context):
            return super().fit(data, replace(context, seed=context.seed + 100))

    toy.add("noise", Noise)
    results = run_all(toy, ("popularity", "fixed", "noise", "target-only"))
    board = collect(results, "toy", 1)
    text = leaderboard(board).partition("## Transfer")[2].partition("## How it was trained")[0]
    for scenario, entries in board.scenarios.items():
        table = text.partition(f"### {scenario}\n")[2].partition("###")[0]
        values = {e.method: e.values("full", "ndcg@10").mean(axis=0) for e in entries}
        row = next(line for line in table.splitlines() if line.startswith("| noise"))
        gain = values["noise"] - values["target-only"]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2] == "target-only"
        assert cells[3].startswith(f"{gain.mean():+.4f} ±")
        assert cells[4] == f"{np.mean(gain > 0):.1%}"
        assert cells[5] == f"{np.mean(gain < 0):.1%}"
        # `fixed` is the same method as the reference, so its gain is zero.
        fixed_row = next(row for row in table.splitlines() if "| fixed" in row)
        assert [cell.strip() for cell in fixed_row.split("|")][3:6] == ["+0.0000 ± 0.0000", "0.0%", "0.0%"]
        # Neither the reference nor methods that learn from the target alone have a row.
        assert not [r for r in table.splitlines() if r.startswith(("| target-only", "| popularity"))]


def test_invalid_answers_are_shown_by_candidate_set(toy) -> None:
    class WritingScorer(DotProduct):
        """A scorer that reports one answer per user, a quarter of them unusable."""

        n_users = 0

        def score(self, histories, candidates):
            self.n_users += len(histories)
            return super().score(histories, candidates)

        def validity(self):
            n_users, self.n_users = self.n_users, 0
            return {"answers": float(n_users), "nothing usable": 0.25 * bool(n_users)}

    class Writes(Fixed):
        def fit(self, data, context):
            scorer = super().fit(data, context)
            return WritingScorer(scorer._items, scorer._encode)

    toy.add("writes", Writes)
    board = collect(run_all(toy, ("popularity", "writes"), (0,)), "toy", 1)
    text = leaderboard(board)
    for scenario, entries in board.scenarios.items():
        popularity, writes = (entry.results[0].validity for entry in sorted(entries, key=lambda entry: entry.method))
        assert popularity is None
        assert list(writes) == ["full", "sampled-10", "retrieved-15"]
        for candidates, shares in writes.items():
            assert shares["answers"] == 30
            assert f"writes on {scenario}, {candidates}, seed 0, wrote 30 answers: nothing usable 25.0%." in text


def test_gain_of_a_source_is_the_difference_of_two_scenarios(toy) -> None:
    results = run_all(toy, ("popularity", "fixed"))
    board = collect(results, "toy", 1)
    single = board.scenarios["left-from-right"][0]
    multi = replace(
        single,
        results=tuple(
            r.model_copy(update={"scenario": r.scenario.model_copy(update={"sources": ("right", "third")})})
            for r in single.results
        ),
    )
    board.scenarios["left-from-right+third"] = (multi, board.scenarios["left-from-right"][1])
    assert added_by_source(board, multi) == "third +0.0000"
    assert added_by_source(board, single) == ""


def test_a_board_without_the_reference_has_no_transfer_section(toy) -> None:
    assert "Transfer" not in leaderboard(collect(run_all(toy), "toy", 1))


def test_merging_rules_have_a_section_with_their_weights(toy) -> None:
    board = collect(run_all(toy, ("fixed",)), "toy", 1)

    def record(kind: str, label: str, validation: tuple[float, ...], notes) -> ArtefactRecord:
        return ArtefactRecord(
            kind=kind,
            label=label,
            key="0",
            validation=validation,
            steps=3,
            best_step=3,
            trainable_parameters=0,
            notes=notes,
        )

    def with_training(result: RunResult) -> RunResult:
        offset = result.seed / 10  # the board shows the first seed
        records = (
            record("lora", "LoRA on left, seed 0", (0.4,), {}),
            record("merge", "rule", (0.2 + offset, 0.31), {"chosen": {"weights": [0.5, 1 / 3], "scale": 1.0}}),
            record("merge", "entropy", (0.25,), {"mean": [1.0, 0.0]}),
        )
        return result.model_copy(update={"training": records})

    (entry,) = board.scenarios["left-from-right"]
    board.scenarios["left-from-right"] = (replace(entry, results=tuple(map(with_training, entry.results))),)
    text = leaderboard(board)
    rows = text.partition("## What merging rules chose")[2].partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if "| fixed" in row]
    assert cells == [
        ["left-from-right", "fixed", "weights 0.5 / 0.33, scale 1", "0.2000, **0.3100**"],
        ["left-from-right", "fixed", "mean weights 1 / 0", "0.2500"],
    ]
    trained = text.partition("## How it was trained")[2].partition("\n## ")[0]
    assert "LoRA on left" in trained
    assert "entropy" not in trained


def test_trainings_with_settings_by_target_have_a_row_per_target(toy) -> None:
    board = collect(run_all(toy, ("fixed",), seeds=(0,)), "toy", 1)

    def tuned(result: RunResult) -> RunResult:
        target = result.scenario.target
        rate = 0.1 if target == "left" else 0.2
        tuning = Tuning(
            command="harness tune",
            method="fixed",
            data=dict.fromkeys([target, "left", "right"], "0"),
            budget={"trials": 1},
            seed=0,
            space={},
            chosen={"rate": rate},
            trials=(TrialRecord(settings={}, validation=rate, curves={}, steps={}, seconds=0.0),),
            code="0",
        )
        record = ArtefactRecord(
            kind="recbole",
            label="SASRec on left + right, seed 0",
            key=target,
            validation=(rate,),
            steps=3,
            best_step=3,
            trainable_parameters=0,
            notes={"training_path": "somehow", "products": "bfloat16"},
        )
        return result.model_copy(update={"training": (record,), "tuning": tuning})

    for name, (entry,) in board.scenarios.items():
        board.scenarios[name] = (replace(entry, results=tuple(map(tuned, entry.results))),)
    text = leaderboard(board).partition("## How it was trained")[2]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if "| SASRec" in row]
    assert [row[0] for row in rows] == ["SASRec on left + right, for left", "SASRec on left + right, for right"]
    assert [row[2] for row in rows] == ["somehow, bfloat16"] * 2
    assert [row[5] for row in rows] == ["rate 0.1", "rate 0.2"]


def test_published_figures_are_compared_with_the_board(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        Published("popularity", "left", "full", {"hr@10": 0.5}, "somebody"),
        Published("popularity", "left", "not ranked", {"hr@10": 0.5}, "somebody else"),
        Published("unheard-of", "left", "full", {"hr@10": 0.5}, "nobody"),
    ]
    monkeypatch.setattr(
        "harness.report.published.published", lambda suite, version: rows if (suite, version) == ("toy", 1) else []
    )
    board = collect(run_all(toy), "toy", 1)
    text = leaderboard(board).partition("## Beside published figures")[2].partition("\n## ")[0]
    (line,) = [line for line in text.splitlines() if "somebody" in line]
    value = (
        next(e for e in board.scenarios["left-from-right"] if e.method == "popularity").values("full", "hr@10").mean()
    )
    assert f"| {value:.4f} |" in line
    assert f"{value / 0.5 - 1:+.0%}" in line
    assert "nobody" not in text


def test_published_figures_name_known_methods_targets_and_metrics() -> None:
    rows = published("cdsr-amazon", 1)
    suite = load_suite("cdsr-amazon/v1")
    assert published("my own suite", 1) == []
    # The published figures use the order of ties of version 1.
    assert published("cdsr-amazon", 2) == []
    for row in rows:
        assert row.method in suite.methods
        assert row.target in {s.target for s in suite.scenarios}
        assert row.candidates in suite.candidates
        assert set(row.metrics) == {"hr@10", "ndcg@10"}


class Reranked(Fixed):
    """A method whose scores reverse the order of its vectors' products."""

    def fit(self, data, context):
        scorer = super().fit(data, context)

        class Scorer:
            item_vectors, history_vectors = scorer.item_vectors, scorer.history_vectors

            def score(self, histories, candidates):
                return -scorer.score(histories, candidates)

        return Scorer()


def columns_of(text: str, scenario: str) -> list[str]:
    heading = text.partition(f"## {scenario}\n")[2].partition("| method")[2].partition("\n")[0]
    return [cell.strip() for cell in heading.split("|")]


def test_an_index_that_equals_full_ranking_has_no_column(toy) -> None:
    text = leaderboard(collect(run_all(toy), "toy", 1))
    assert "NDCG@10, retrieved-15" not in columns_of(text, "left-from-right")
    toy.add("reranked", Reranked)
    board = collect(run_all(toy, methods=("popularity", "fixed", "reranked")), "toy", 1)
    text = leaderboard(board)
    index = columns_of(text, "left-from-right").index("NDCG@10, retrieved-15")
    table = text.partition("## left-from-right\n")[2].partition("## ")[0]
    cells = {
        re.sub(r"\W", "", line.split("|")[1]): line.split("|")[index + 1].strip()
        for line in table.splitlines()
        if line.startswith("| ")
    }
    ranks = next(e for e in board.scenarios["left-from-right"] if e.method == "reranked")
    assert cells["fixed"] == "as full"
    assert cells["popularity"] == "–"
    assert cells["reranked"] == f"{ranks.values('retrieved-15', 'ndcg@10').mean():.4f}"
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
    with pytest.raises(
        HarnessError, match=r"inconsistent on left-from-right: retrieved-15 differs from full for \d+ of 30"
    ):
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
    text = leaderboard(collect(results, "toy", 1))
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
    assert f"of them cold {share}" in leaderboard(board)


def test_recall_of_an_approximate_index_is_shown_with_its_interval(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.evaluation.rank.EXACT_UP_TO", 10)
    monkeypatch.setattr("harness.evaluation.rank.rank_retrieved.__defaults__", (0.2, 10, lambda *_: None))
    toy.suite = toy.replace(toy.suite, least_recall=0.2)
    results = run_all(toy)
    record = read_result(results / "toy/v1/left-from-right/fixed-seed0.json")[0].candidates["retrieved-15"]
    assert record.recall_users == 30
    assert record.recall_interval == (record.recall, record.recall)  # of all thirty users, so exact
    board = collect(results, "toy", 1)
    least = min(r.candidates["retrieved-15"].recall for r in board.results if r.method == "fixed")
    line = f"finds {least:.4f} of what an exact one does (95 % confidence interval {least:.4f} to {least:.4f}, from 30"
    assert line in leaderboard(board)


def test_tables_without_optional_columns_keep_their_metrics(tmp_path: Path) -> None:
    above, tied, candidates = np.array([0, 3, MISSED]), np.array([0, 2, 0]), np.array([9, 9, 9])
    slices = {"all": np.ones(3, dtype=bool)}
    old = RankTable({"full": Ranks(above, tied, candidates)}, slices)
    chance, unscored = np.array([1.0, 0.25, 1.0]), np.array([False, False, True])
    new = RankTable({"full": Ranks(above, tied, candidates, chance, unscored)}, slices)
    for name, table in (("old", old), ("new", new)):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(table.to_parquet())
        assert RankTable.from_parquet(path).metrics("full") == table.metrics("full")
    assert pq.read_table(tmp_path / "old.parquet").column_names == [
        "slice/all", "full/above", "full/tied", "full/candidates"
    ]  # fmt: skip
    assert old.metrics("full")["all"]["hr@5"] == pytest.approx((1 + 2 / 3) / 3)
    assert new.metrics("full")["all"]["hr@5"] == pytest.approx((1 + 0.25 * 2 / 3) / 3)
    assert RankTable.from_parquet(tmp_path / "new.parquet").ranks["full"].unscored.tolist() == [False, False, True]


def test_newer_fields_do_not_change_the_digest_of_older_results(toy) -> None:
    path = run_all(toy) / "toy/v1/left-from-right/fixed-seed0.json"
    raw = json.loads(path.read_text())
    digest = RunResult.model_validate(raw).content_digest()
    for record in raw["candidates"].values():
        del record["recall_interval"], record["recall_users"], record["unscored"]
    older = RunResult.model_validate(raw)
    assert older.content_digest() != digest
    content = {k: v for k, v in raw.items() if k not in ("provenance", "cost")}
    assert older.content_digest() == content_digest(content)
