"""`harness score`, `harness export-run` and `harness data export`; malformed files, each refused in one line."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from harness.run.workspace import open_workspace
from harness.suites import load_suite
from tests.harness.cli.test_run import harness
from tests.plugin import Shop

SCENARIO = "left-from-right"
ARGUMENTS = ("--suite", "small.yaml", "--scenario", SCENARIO)
CSV = "user_id,item_id,score\n"
RANKS = "user_id,item_id,rank\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suite and its prepared data, so that commands print nothing about their preparation."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    Shop(folder, "popularity")
    suite = folder / "small.yaml"
    suite.write_text(suite.read_text().replace("candidates: [full]", "candidates: [full, sampled-5]"))
    open_workspace(load_suite(str(suite)), cache_dir=folder / ".harness", data_dir=folder)
    return folder


@pytest.fixture
def run(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command in the shop's folder; return its exit code, standard output and standard error."""
    monkeypatch.chdir(shop)
    return lambda *arguments: harness(monkeypatch, capsys, *arguments)


def whole(shop: Path) -> pd.DataFrame:
    """Scores of all users and items."""
    rows = [(f"u{user}", f"left{item}", (7 * user + 5 * item) % 23) for user in range(20) for item in range(25)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "score"])


def test_scored_files_stand_on_the_board_and_their_runs_can_be_exported(shop: Path, run) -> None:
    whole(shop).to_csv("whole.csv", index=False)
    code, out, err = run("score", "whole.csv", *ARGUMENTS, "--name", "my-model")
    assert (code, err) == (0, ""), err
    assert "my-model on left-from-right, seed 0, scored outside; 20 test users" in out
    assert "  history: 120 rows are of items in the user's history" in out
    assert "cutoffs above" not in out
    code, out, _ = run("leaderboard", "--check")
    assert (code, out) == (0, "leaderboards/small-v1.md: as its results give\n")
    assert "| **my-model§** |" in Path("leaderboards/small-v1.md").read_text()

    whole(shop).sort_values("score").groupby("user_id").tail(14).to_parquet("short.parquet")
    code, out, _ = run("score", "short.parquet", *ARGUMENTS, "--name", "my-lists", "--json")
    printed = json.loads(out)
    length = printed["outside"]["list_length"]
    assert (code, length < 14) == (0, True)
    assert {m: v is None for m, v in printed["metrics"]["full"].items()} == {
        m: int(m.partition("@")[2]) > length for m in printed["metrics"]["full"]
    }
    assert "sampled-5" not in printed["metrics"]

    result = f"leaderboards/results/small/v1/{SCENARIO}/my-model-seed0.json"
    code, out, _ = run("export-run", result, "--output-dir", "trec")
    assert (code, out.split()) == (0, ["trec/my-model-seed0.run", f"trec/{SCENARIO}.qrels"])
    code, _, err = run("score", "trec/my-model-seed0.run", *ARGUMENTS, "--name", "again")
    assert (code, err) == (0, "")


def test_data_are_exported_into_a_new_folder(shop: Path, run) -> None:
    code, out, _ = run("data", "export", *ARGUMENTS, "--output-dir", "data-left")
    assert code == 0
    assert out.split()[-1] == "data-left/manifest.json"
    assert {path.name for path in Path("data-left").iterdir()} == {Path(line).name for line in out.split()}
    code, _, err = run("data", "export", *ARGUMENTS, "--output-dir", "data-left")
    assert (code, "data-left is there and not empty" in err, err.count("\n")) == (2, True, 1)
    code, _, err = run("data", "export", *ARGUMENTS, "--output-dir", "other", "--format", "recbol")
    assert (code, "Unknown format 'recbol'. Did you mean 'recbole'" in err, err.count("\n")) == (2, True, 1)


def parquet(**columns: object) -> bytes:
    return pd.DataFrame(columns).to_parquet()


ONE = {"user_id": ["u1", "u2"], "item_id": ["left1", "left2"]}

#: File, content, and what the error says beside the file's name.
MALFORMED = [
    ("a.csv", "", "is empty"),
    ("a.csv", CSV, "has no rows"),
    ("a.csv", "user,item_id,score\nu1,left1,1\n", "row 1: no column user_id; found user, item_id, score"),
    ("a.csv", "user_id,item,score\nu1,left1,1\n", "row 1: no column item_id"),
    ("a.csv", "user_id,item_id,value\nu1,left1,1\n", "row 1: no column score or rank"),
    ("a.csv", "user_id,item_id,score,score\nu1,left1,1,1\n", "row 1: the column score is there twice"),
    ("a.csv", "user_id;item_id;score\nu1;left1;1\n", "row 1: no column user_id"),
    ("a.csv", "user_id\titem_id\tscore\nu1\tleft1\t1\n", "row 1: no column user_id"),
    ("a.csv", "u1,left1,1\n", "row 1: no column user_id"),
    ("a.csv", f"{CSV}u1,left1,1\nu1,left2\n", "row 3: 2 fields instead of 3"),
    ("a.csv", f"{CSV}u1,left1,1\n\nu1,left2\n", "row 4: 2 fields instead of 3"),
    ("a.csv", f"{CSV}u1,left1,1,5\n", "row 2: 4 fields instead of 3"),
    ("a.csv", f'{CSV}u1,left1,1\n"u1\n",left2,1\n', "row 3: "),
    ("a.csv", f"{CSV}u1,left1,high\n", "row 2: score 'high' is not a number"),
    ("a.csv", f"{CSV}u1,left1,1\nu1,left2,\n", "row 3: score '' is not a number"),
    ("a.csv", f"{CSV}u1,left1,0x10\n", "row 2: score '0x10' is not a number"),
    ("a.csv", f"{CSV}u1,left1,1_000\n", "row 2: score '1_000' is not a number"),
    ("a.csv", f"{CSV}u1,left1, 1\n", "row 2: score ' 1' is not a number"),
    ("a.csv", f"{CSV}u1,left1,1\nu1,left2,NaN\n", "row 3: the score is NaN, which has no rank"),
    ("a.csv", f"{CSV}u1,left1,inf\n", "row 2: the score is infinite"),
    ("a.csv", f"{CSV}u1,left1,1e999\n", "row 2: the score is infinite"),
    ("a.csv", f"{CSV}u1,left1,1\nu20,left1,1\n", "row 3: 'u20' is no user of left"),
    ("a.csv", f"{CSV}u1,left1,1\nu2,left25,1\n", "row 3: 'left25' is no item of the catalogue of left"),
    ("a.csv", f"{CSV}u1,right1,1\n", "row 2: 'right1' is no item of the catalogue of left"),
    ("a.csv", f"{CSV}u1,left1,1\nu2,left1,1\nu1,left1,1\n", "row 4: user 'u1' has 'left1' already in row 2"),
    ("a.csv", f"{CSV}u1,left1,1\nu1,left1,2\n", "row 3: user 'u1' has 'left1' already in row 2"),
    ("a.csv", f"{CSV},left1,1\n", "row 2: no user_id"),
    ("a.csv", f"{CSV}u1,,1\n", "row 2: no item_id"),
    ("a.csv", f"{CSV}u1,left1,1\n  ,left1,1\n", "row 3: no user_id"),
    ("a.csv", f"{CSV}u1,left1,1\n".encode() + b"u\xe9,left1,1\n", "row 3: not UTF-8"),
    ("a.csv", f"{RANKS}u1,left1,0\n", "row 2: rank 0 is below 1"),
    ("a.csv", f"{RANKS}u1,left1,-1\n", "row 2: rank '-1' is not a number"),
    ("a.csv", f"{RANKS}u1,left1,1.5\n", "row 2: rank '1.5' is not a number"),
    ("a.csv", f"{RANKS}u1,left1,first\n", "row 2: rank 'first' is not a number"),
    ("a.csv", f"{RANKS}u1,left1,1\nu1,left2,1\n", "row 3: user 'u1' has rank 1 already in row 2"),
    ("a.tsv", f"{CSV}u1,left1,1\n", "row 1: no column user_id"),
    ("a.tsv", "user_id\titem_id\tscore\nu1\tleft1\n", "row 2: 2 fields instead of 3"),
    ("a.csv.gz", CSV.encode(), "is not gzip"),
    ("a.csv.gz", gzip.compress(f"{CSV}u1,left1,x\n".encode()), "row 2: score 'x' is not a number"),
    ("a.jsonl", "", "has no rows"),
    ("a.jsonl", '{"user_id": "u1", "items": ["left1"]}\n{"user_id"\n', "row 2: not JSON"),
    ("a.jsonl", '["u1", "left1"]\n', "row 1: no user_id that is text or a whole number"),
    ("a.jsonl", '{"items": ["left1"]}\n', "row 1: no user_id"),
    ("a.jsonl", '{"user_id": 1.5, "items": ["left1"]}\n', "row 1: no user_id"),
    ("a.jsonl", '{"user_id": true, "items": ["left1"]}\n', "row 1: no user_id"),
    ("a.jsonl", '{"user_id": "u1"}\n', "row 1: not one list of items or titles"),
    ("a.jsonl", '{"user_id": "u1", "items": "left1"}\n', "row 1: not one list of items or titles"),
    ("a.jsonl", '{"user_id": "u1", "items": [], "titles": []}\n', "row 1: not one list of items or titles"),
    ("a.jsonl", '{"user_id": "u1", "items": ["left1", null]}\n', "row 1: None in the list is no text"),
    ("a.jsonl", '{"user_id": "u1", "items": [["left1"]]}\n', "row 1: ['left1'] in the list is no text"),
    ("a.jsonl", '{"user_id": "u1", "items": ["left1", "left1"]}\n', "row 1: user 'u1' has 'left1' already in row 1"),
    (
        "a.jsonl",
        '{"user_id": "u1", "items": ["left1"]}\n{"user_id": "u1", "items": ["left2"]}\n',
        "row 2: user 'u1' has rank 1 already in row 1",
    ),
    ("a.jsonl", '{"user_id": "u1", "items": ["left99"]}\n', "row 1: 'left99' is no item of the catalogue"),
    ("a.jsonl", '{"user_id": "u1", "titles": ["nothing"]}\n', "row 1: 'nothing' is no title of the catalogue"),
    (
        "a.jsonl",
        '{"user_id": "u1", "items": ["left1"]}\n{"user_id": "u2", "titles": ["thing 1"]}\n',
        "row 2: titles, but items before",
    ),
    ("a.run", "u1 Q0 left1 1 0.5\n", "row 1: 5 fields instead of 6"),
    ("a.run", "u1 Q0 left1 1 0.5 my model\n", "row 1: 7 fields instead of 6"),
    ("a.run", "u1 Q0 left1 1 0.5 me\nu1 Q0 left2 2 low me\n", "row 2: score 'low' is not a number"),
    ("a.run", "u1 Q0 left1 1 nan me\n", "row 1: the score is NaN"),
    ("a.run", "u99 Q0 left1 1 0.5 me\n", "row 1: 'u99' is no user of left"),
    ("a.run", "u1 Q0 left1 1 2 me\nu1 Q0 left1 2 1 me\n", "row 2: user 'u1' has 'left1' already in row 1"),
    ("a.parquet", CSV, "is not a Parquet file"),
    ("a.parquet", parquet(**ONE, score=[1.0, 2.0])[:-20], "cannot be read"),
    ("a.parquet", parquet(user_id=["u1"], score=[1.0]), "row 1: no column item_id"),
    ("a.parquet", parquet(**ONE), "row 1: no column score or rank"),
    ("a.parquet", parquet(user_id=["u1", None], item_id=["left1", "left2"], score=[1.0, 2.0]), "row 2: no user_id"),
    ("a.parquet", parquet(user_id=["u1", "u2"], item_id=["left1", None], score=[1.0, 2.0]), "row 2: no item_id"),
    (
        "a.parquet",
        parquet(user_id=[1.0, 2.5], item_id=["left1", "left2"], score=[1.0, 2.0]),
        "user_id is of type double",
    ),
    ("a.parquet", parquet(**ONE, score=[True, False]), "score is of type bool"),
    ("a.parquet", parquet(**ONE, score=["1", "2"]), "score is of type"),
    ("a.parquet", parquet(**ONE, score=[1, 2**53]), "row 2: score 9007199254740992 is not below 2^53"),
    ("a.parquet", parquet(**ONE, score=pd.array([1, None], dtype="Int64")), "row 2: no score"),
    ("a.parquet", parquet(**ONE, rank=[1.0, 1.5]), "row 2: rank 1.5 is not a whole number"),
    ("a.parquet", parquet(**ONE, rank=[1, -2]), "row 2: rank -2 is below 1"),
    ("a.parquet", parquet(user_id=["u1"] * 2, item_id=["left1"] * 2, score=[1.0, 2.0]), "row 2: user 'u1' has 'left1'"),
    ("a.scores", f"{CSV}u1,left1,1\n", "the suffix does not say which format it is"),
]


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED)
def test_a_malformed_file_is_refused_in_one_line_that_names_the_row(
    shop: Path, run, name: str, content: str | bytes, message: str
) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    code, _, err = run("score", name, *ARGUMENTS, "--name", "malformed")
    assert code == 2, err
    assert (name in err, message in err, err.count("\n")) == (True, True, 1), err
    assert not list(shop.rglob("malformed-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.csv"], "There is no file none.csv"),
        (["."], "There is no file ."),
        (["whole.csv", "--format", "xml"], "Unknown format 'xml'. Known: csv, jsonl, parquet, trec, tsv"),
        (["whole.csv", "--candidates", "sampled-5"], "--candidates 'sampled-5' names no file"),
        (["whole.csv", "--candidates", "full=whole.csv"], "--candidates 'full=whole.csv' names no file"),
        (["whole.csv", "--candidates", "sampled-5=none.csv"], "There is no file none.csv"),
        (["whole.csv", "--candidates", "sampled-9=whole.csv"], "'sampled-9' is no drawn candidate set of small/v1"),
        (["whole.csv", "--candidates", "sampled-5=whole.csv"], "is no candidate of user"),
    ],
)
def test_wrong_options_are_refused_in_one_line(shop: Path, run, options: list[str], message: str) -> None:
    whole(shop).to_csv("whole.csv", index=False)
    code, _, err = run("score", *options, *ARGUMENTS, "--name", "malformed")
    assert (code, message in err, err.count("\n")) == (2, True, 1), err
