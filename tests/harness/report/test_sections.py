"""Sections of a board on transfer, training, written answers and published figures."""

from dataclasses import replace

import numpy as np

from harness.methods.api import DotProduct
from harness.protocol.significance import MeanInterval, SeedSpread, mean_interval
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.report.transfer import added_by_source
from harness.results.record import ArtefactRecord, RunResult
from harness.tuning.record import TrialRecord, Tuning
from tests.harness.report.test_leaderboard import Fixed, cells, run_all, section


def test_transfer_gains_are_paired_by_user(toy) -> None:
    toy.add("target-only", Fixed)

    class Noise(Fixed):
        """Vectors of another seed."""

        def fit(self, data, context):
            return super().fit(data, replace(context, seed=context.seed + 100))

    toy.add("noise", Noise)
    results = run_all(toy, ("popularity", "fixed", "noise", "target-only"))
    board = collect(results, "toy", 1)
    text = leaderboard(board)
    for scenario, entries in board.scenarios.items():
        table = section(text, f"Transfer: {scenario}, NDCG@10, all users")
        values = {e.method: e.values("full", "ndcg@10").mean(axis=0) for e in entries}
        row = next(line for line in table.splitlines() if line.startswith("| noise"))
        gain = values["noise"] - values["target-only"]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2] == "target-only"
        assert cells[3].startswith(f"{gain.mean():+.4f} ±")
        sampled = {e.method: e.values("sampled-10", "ndcg@10").mean() for e in entries}
        assert cells[4].startswith(f"{sampled['noise'] - sampled['target-only']:+.4f} ±")
        assert cells[5] == f"{np.mean(gain > 0):.1%}"
        assert cells[6] == f"{np.mean(gain < 0):.1%}"
        # `fixed` is the same method as the reference, so its gain is zero.
        fixed_row = next(row for row in table.splitlines() if "| fixed" in row)
        assert [cell.strip() for cell in fixed_row.split("|")][3:7] == [*["+0.0000 ± 0.0000"] * 2, "0.0%", "0.0%"]
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


def test_what_the_order_of_candidates_changes_is_shown_by_candidate_set(toy) -> None:
    class PromptingScorer(DotProduct):
        """A scorer that tried a second order for some users of drawn candidates."""

        tried = 0.0

        def score(self, histories, candidates):
            self.tried = 0.0 if candidates is None else 8.0
            return super().score(histories, candidates)

        def prompt_order(self):
            return {"users": self.tried, "kendall_tau": 0.625, "other_first": 0.25, "first_third": 0.5}

    class Prompts(Fixed):
        def fit(self, data, context):
            scorer = super().fit(data, context)
            return PromptingScorer(scorer._items, scorer._encode)

    toy.add("prompts", Prompts)
    board = collect(run_all(toy, ("popularity", "prompts"), (0, 1)), "toy", 1)
    section = leaderboard(board).split("## Order of candidates in the prompt")[1].split("\n## ")[0]
    # Both seeds together; popularity and the full catalogue have no row.
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:2] == "| "]
    expected = [["prompts", name, "16", "0.62", "25%", "50%"] for name in ("sampled-10", "retrieved-15")]
    assert [row for row in rows if row[0] != "method"] == expected * len(board.scenarios)


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
    assert added_by_source(board, multi, None) == {"third": MeanInterval(0.0, 0.0)}
    assert added_by_source(board, single, None) == {}
    others = (replace(board.scenarios["left-from-right"][1], method="fixed"),)
    board.scenarios["left-from-right"] = others
    values, without = (entry.values("full", "ndcg@10") for entry in (multi, *others))
    expected, spread = mean_interval(values - without, SeedSpread(2.0, 5)), SeedSpread(2.0, 5)
    assert added_by_source(board, multi, spread) == {"third": expected}


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
    rows = section(text, "Merging: left-from-right, validation NDCG@10").splitlines()
    assert [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if "| fixed" in row] == [
        ["fixed", "weights 0.5 / 0.33, scale 1", "0.2000", "**0.3100**"],
        ["fixed", "mean weights 1 / 0", "0.2500", "–"],
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
    text = leaderboard(board)
    trained = cells(text, "How it was trained")
    assert list(trained) == ["SASRec on left + right, for left", "SASRec on left + right, for right"]
    assert [row["way"] for row in trained.values()] == ["somehow, bfloat16"] * 2
    chosen = cells(text, "Chosen settings: validation NDCG@10 of each trial")
    assert list(chosen) == list(trained)
    assert [row["settings"] for row in chosen.values()] == ["rate 0.1", "rate 0.2"]
