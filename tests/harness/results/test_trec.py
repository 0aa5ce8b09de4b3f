"""TREC runs of results, evaluated by code that shares nothing with the harness."""

import math
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.results import trec
from harness.results.files import read_result
from harness.results.users import TestUsers
from tests.harness.report.test_leaderboard import Fixed

SCENARIO = Path("toy", "v1", "left-from-right")


@pytest.fixture
def result(toy) -> Path:
    """A result of a method whose scores do not tie, so that its lists say all."""
    toy.add("fixed", Fixed)
    toy.run("fixed", seeds=(0,), scenarios=["left-from-right"])
    return toy.out / "results" / SCENARIO / "fixed-seed0.json"


def evaluate(run: Path, judgements: Path, k: int) -> dict[str, float]:
    """HR, MRR and NDCG at k from the definitions, as trec_eval does: by falling score."""
    relevant = {user: item for user, _, item, _ in map(str.split, judgements.read_text().splitlines())}
    lists: dict[str, list[tuple[float, str]]] = {user: [] for user in relevant}
    for user, _, item, _, score, _ in map(str.split, run.read_text().splitlines()):
        lists[user].append((-float(score), item))
    gains = {"hr": 0.0, "mrr": 0.0, "ndcg": 0.0}
    for user, item in relevant.items():
        order = [listed for _, listed in sorted(lists[user])][:k]
        if item in order:
            rank = order.index(item) + 1
            gains = {
                "hr": gains["hr"] + 1,
                "mrr": gains["mrr"] + 1 / rank,
                "ndcg": gains["ndcg"] + 1 / math.log2(rank + 1),
            }
    return {name: total / len(relevant) for name, total in gains.items()}


def test_other_programs_find_the_same_figures_in_a_run(result: Path, tmp_path: Path) -> None:
    run, judgements = trec.write_run(result, tmp_path / "trec")
    metrics = read_result(result)[0].candidates["full"].metrics["all"]
    for k in (1, 3, 5, 10, 20):
        for name, value in evaluate(run, judgements, k).items():
            assert value == pytest.approx(metrics[f"{name}@{k}"], abs=1e-9), (name, k)
    assert metrics["hr@10"] > 0


@pytest.mark.slow
def test_ranx_finds_the_same_figures_in_a_run(result: Path, tmp_path: Path) -> None:
    from ranx import Qrels, Run, evaluate

    run, judgements = trec.write_run(result, tmp_path / "trec")
    metrics = read_result(result)[0].candidates["full"].metrics["all"]
    figures = evaluate(
        Qrels.from_file(str(judgements), kind="trec"),
        Run.from_file(str(run), kind="trec"),
        ["hit_rate@10", "mrr@10", "ndcg@10"],
    )
    for theirs, ours in (("hit_rate@10", "hr@10"), ("mrr@10", "mrr@10"), ("ndcg@10", "ndcg@10")):
        assert figures[theirs] == pytest.approx(metrics[ours], abs=1e-9)


def test_results_without_lists_and_ids_with_white_space_are_refused(toy, tmp_path: Path, result, monkeypatch) -> None:
    read = trec.read_result

    def with_spaces(path: Path):
        found, table = read(path)
        table.users = TestUsers(("u 0", *table.users.user_ids[1:]), table.users.item_ids)
        return found, table

    monkeypatch.setattr(trec, "read_result", with_spaces)
    with pytest.raises(HarnessError, match="The id 'u 0' holds white space"):
        trec.write_run(result, tmp_path / "trec")
    monkeypatch.setattr(trec, "read_result", lambda path: (replace_lists(read(path)[0]), read(path)[1]))
    with pytest.raises(HarnessError, match=r"fixed-seed0.json keeps no lists"):
        trec.write_run(result, tmp_path / "trec")
    assert not (tmp_path / "trec").exists()


def replace_lists(result):
    return result.model_copy(update={"lists_sha256": None})
