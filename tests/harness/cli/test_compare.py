"""`harness compare` and `harness show` on results of a small suite, with titles of its data."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import recbole
from rich.console import Console

from harness.run.suite import run_suite
from tests.harness.cli.test_run import SUITE, harness

RAW = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the results of two methods, and the data that they were made with."""
    folder = tmp_path_factory.mktemp("compare")
    suite = SUITE.replace("[popularity]", "[popularity, item-knn]").replace("[0, 1]", "[0]")
    (folder / "tiny.yaml").write_text(suite)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_suite("tiny.yaml", jobs=0, device="cpu", console=Console(quiet=True))
    return folder


def test_single_users_are_shown_with_titles_histories_and_lists(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    arguments = ("compare", "popularity", "item-knn", "--suite", "tiny.yaml", "--examples", "2")
    code, out, _ = harness(monkeypatch, capsys, *arguments, "--json", "--plot", "differences.svg")
    content = json.loads(out)
    assert (code, content["missing"], content["by_scenario"][0]["p_value"]) == (0, [], None)
    assert (folder / "differences.svg").read_bytes().startswith(b"<?xml")
    items = pd.read_csv(RAW / "ml-100k.item", sep="\t", dtype=str)
    titles = dict(zip(items["item_id:token"], items["movie_title:token_seq"], strict=True))
    events = pd.read_csv(RAW / "ml-100k.inter", sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    home = folder / "leaderboards" / "results" / "tiny" / "v1" / "action-from-comedy"
    users = pq.read_table(home / "users.parquet")["user_id"].to_pylist()
    lists = pq.read_table(home / "item-knn-seed0.lists.parquet")["items"].to_pylist()
    assert [example["kind"] for example in content["examples"]] == ["won"] * 2 + ["lost"] * 2 + ["hardest"] * 2
    for example in content["examples"]:
        own = events[events["user_id:token"] == example["user"]].set_index("item_id:token")["timestamp:float"]
        times = [own[item] for item in [*example["history"], example["held_out"]]]
        assert times == sorted(times)
        assert example["held_out"] not in example["history"]
        assert example["history_length"] >= len(example["history"]) == 10
        assert example["lists"][1] == lists[users.index(example["user"])][:10]
        assert {example["held_out"], *example["history"]} <= example["titles"].keys()
        assert all(text.startswith(titles[item]) for item, text in example["titles"].items())

    code, out, _ = harness(monkeypatch, capsys, *arguments)
    assert code == 0
    assert all(heading in out for heading in ("### Most won by popularity", "### Most won by item-knn", "### Hardest"))


def test_titles_that_cannot_be_had_are_a_line_and_not_an_error(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    arguments = ("compare", "popularity", "item-knn", "--suite", "tiny", "--examples", "1")
    code, out, _ = harness(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "- No titles and histories: tiny/v1 is not a built-in suite. Name its file: --suite FILE.yaml.\n" in out


def test_a_result_is_explained(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    path = Path("leaderboards", "results", "tiny", "v1", "action-from-comedy", "item-knn-seed0.json")
    code, out, _ = harness(monkeypatch, capsys, "show", str(path))
    assert (code, "# item-knn on action-from-comedy of tiny/v1, seed 0" in out) == (0, True)
    code, out, _ = harness(monkeypatch, capsys, "show", str(path), "--json")
    assert (code, json.loads(out)) == (0, json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "populrity", "item-knn", "--suite", "tiny"], "Did you mean 'popularity'"),
        (["compare", "popularity", "item-knn", "--suite", "tyni"], "Did you mean 'tiny'"),
        (["compare", "popularity", "item-knn"], "Add --suite tiny"),
        (["compare", "popularity", "item-knn", "--suite", "tiny", "--plot", "a.txt"], "Cannot draw into a.txt"),
        (["compare", "popularity", "item-knn", "--output-dir", "nowhere"], "No results in nowhere/results"),
        (["show", "nothing.json"], "No result file nothing.json"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(folder: Path, monkeypatch, capsys, arguments, message) -> None:
    monkeypatch.chdir(folder)
    code, out, err = harness(monkeypatch, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
