"""The `harness data` commands."""

import json
import re
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from harness.cli.app import main
from harness.data.download import RemoteFile
from harness.data.sources import make_source
from harness.datasets import Dataset, dataset_names, load_dataset
from harness.datasets import load as datasets

SUITE = """
suite: shops
version: 1
title: two shops
overlap: none
domains:
  - {name: left, source: table, data_dir: ., interactions: left.csv, items: items.csv, users: shop, k_core: 1}
  - {name: right, source: table, data_dir: ., interactions: right.csv, items: items.csv, users: shop, k_core: 1}
scenarios:
  - {target: left, sources: [right]}
  - {target: left, sources: [right], split: temporal}
  - {target: right, sources: [left], overlap: kept}
candidates: [full, full-history-kept, sampled-4]
methods: [popularity]
seeds: [0]
budget: {trials: 1, epochs: 1, patience: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CDSR_DATA", raising=False)
    (tmp_path / "shops.yaml").write_text(SUITE)
    for seed, name in enumerate(["left", "right"]):
        rows = [
            f"u{u},i{(u * 7 + k * (3 + seed)) % 20},{1000 * k + 300 * u + 1500 * (1 - seed)}"
            for u in range(40)
            for k in range(6)
        ]
        (tmp_path / f"{name}.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\nu1,i1,never\n")
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{i},thing [{i}]\n" for i in range(20)))
    return tmp_path


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def test_selection_on_test_events_is_marked_in_output_and_board(folder: Path, harness) -> None:
    text = SUITE.replace("overlap: none\n", "split: leave-one-out-selected-on-test\n", 1)
    (folder / "shops.yaml").write_text(text)
    code, out, err = harness("run", "--suite", "shops.yaml")
    assert (code, err) == (0, "")
    assert "left-from-right.leave-one-out-selected-on-test: **Selected on test**" in out
    board = (folder / "leaderboards" / "shops-v1.md").read_text()
    selected_on_test, temporal = board.partition("## left-from-right.temporal")[::2]
    assert board.count("**Selected on test**") == 2
    assert selected_on_test.startswith("# shops v1 (only 1 seed; selected on test)")
    assert "**Selected on test**" in selected_on_test.partition("## left-from-right.leave-one-out-selected-on-test")[2]
    assert "**Selected on test**" not in temporal.partition("\n## ")[0]


def test_seeds_are_added_later_where_shared_users_left_a_domain(folder: Path, harness) -> None:
    for seed in ("0", "1"):
        code, _, err = harness("run", "--suite", "shops.yaml", "--seed", seed, "--method", "popularity")
        assert (code, err) == (0, "")
    assert len(list((folder / "leaderboards/results").rglob("popularity-seed*.json"))) == 6


def test_drawn_test_users_and_trial_runs_have_results_of_their_own(folder: Path, harness) -> None:
    (folder / "shops.yaml").write_text(SUITE.replace("overlap: none\n", "test_users: 12\n", 1))
    run = ("run", "--suite", "shops.yaml", "--method", "popularity", "--seed")
    assert harness(*run, "0")[0] == 0
    (path,) = (folder / "leaderboards/results/shops").rglob("right-from-left/popularity-seed0.json")
    result = json.loads(path.read_text())
    assert (result["test_users"], result["slices"]["all"], result["left_out"]) == (12, 12, 28)
    (folder / "shops.yaml").write_text(SUITE.replace("overlap: none\n", "", 1))
    code, _, err = harness(*run, "1")
    assert code == 2
    assert "was made with other slices than shops/v1 has now" in err
    code, out, _ = harness(*run, "0", "--limit", "15", "--scenario", "right-from-left")
    assert code == 0
    assert "trial run: 15 users of each domain" in out
    (path,) = (folder / ".harness/limited").rglob("popularity-seed0.json")
    result = json.loads(path.read_text())
    assert (result["suite"], result["user_limit"], result["slices"]["all"]) == ("shops-limit-15", 15, 15)
    assert result["data"]["right"]["users"] == 15


def test_a_suite_of_the_user_s_own_files(folder: Path, harness) -> None:
    code, out, err = harness("run", "--suite", "shops.yaml")
    assert (code, err) == (0, "")
    assert "left: dropped 1 rows: not a timestamp (first: " in out
    assert "left.csv row 242: never)" in out
    board = (folder / "leaderboards" / "shops-v1.md").read_text()
    assert "## left-from-right.no-overlap" in board
    assert "## left-from-right.temporal.no-overlap" in board
    assert "shared users left in one domain only" in board
    assert re.search(r"\| full-history-kept +\||\| +full-history-kept \|", board)
    assert re.search(r"Time guard: for \d+\.\d% of the test users", board)
    assert "Time guard: no training or validation event of any domain is later than a test event." in board
    assert out.count("Time guard: for") >= 2
    results = {p.parent.name: json.loads(p.read_text()) for p in (folder / "leaderboards").rglob("*-seed0.json")}
    assert results["left-from-right.temporal.no-overlap"]["leakage"]["later"] == {"left": 0, "right": 0}
    assert results["right-from-left"]["leakage"]["later"]["right"] > 0
    assert results["right-from-left"]["leakage"]["exposed_by_own"] > 0
    assert results["left-from-right.no-overlap"]["leakage"]["exposed_by_own"] == 0
    split_users = [results["left-from-right.no-overlap"]["data"][name]["users"] for name in ("left", "right")]
    assert sum(split_users) == 40
    assert [results["right-from-left"]["data"][name]["users"] for name in ("left", "right")] == [40, 40]


def test_prepare_describe_and_verify(folder: Path, harness) -> None:
    code, out, _ = harness("data", "prepare", "--suite", "shops.yaml")
    assert code == 0
    assert "left: 40 users, 20 items, 240 interactions" in out
    code, out, _ = harness("data", "prepare", "--suite", "shops.yaml", "--json")
    prepared = {domain["name"]: domain for domain in json.loads(out)}
    assert not prepared["left"]["fresh"]
    assert prepared["left"]["ties"]["order"] == "hashed, seed 0"
    code, out, _ = harness("data", "describe", "--suite", "shops.yaml", "--plot", "d.svg")
    assert code == 0
    assert "| left     |      40 |      20 |            240 |          6.00 |" in out
    assert "| left, right |             40 |             20 |             20 |" in out
    assert re.search(r"^\| ties +\| +hashed, seed 0 \|", out, re.MULTILINE)
    assert (folder / "d.svg").read_text().startswith("<?xml")
    code, out, _ = harness("data", "describe", "--suite", "shops.yaml", "--json")
    assert json.loads(out)["domains"][0]["density"] == pytest.approx(240 / 800)
    assert json.loads(out)["domains"][0]["ties"] == prepared["left"]["ties"]
    pin = prepared["left"]["fingerprint"]
    text = SUITE.replace("users: shop, k_core: 1}", f"users: shop, k_core: 1, fingerprint: {pin}}}", 1)
    (folder / "shops.yaml").write_text(text)
    code, out, _ = harness("data", "verify", "--suite", "shops.yaml")
    assert (code, f"domain left: ok (pinned by its suite) {pin}" in out) == (0, True)
    assert "sampled-4 of left-from-right.no-overlap: not pinned" in out
    with (folder / "left.csv").open("a") as file:
        file.write("u1,i1,77\n")
    code, out, _ = harness("data", "verify", "--suite", "shops.yaml")
    assert (code, "domain left: different" in out) == (1, True)
    code, _, err = harness("run", "--suite", "shops.yaml")
    assert (code, "has the fingerprint" in err) == (2, True)


def test_candidates_that_differ_from_the_pinned_ones_stop_a_run(folder: Path, harness) -> None:
    wrong = "f" * 64
    line = "{target: left, sources: [right]}"
    (folder / "shops.yaml").write_text(
        SUITE.replace(line, f"{line[:-1]}, candidates_sha256: {{sampled-4: {wrong}}}}}", 1)
    )
    code, _, err = harness("run", "--suite", "shops.yaml")
    assert (code, f"but the suite pins {wrong}" in err, err.count("\n")) == (2, True, 1)
    code, out, _ = harness("data", "verify", "--suite", "shops.yaml")
    assert (code, "sampled-4 of left-from-right.no-overlap: different" in out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare",), "Name either data sets or a suite."),
        (("prepare", "amazon2014-beuty"), "Did you mean 'amazon2014-beauty"),
        (("prepare", "amazon2014-beauty"), "No file data/amazon2014/Beauty/train.json"),
        (("describe", "--suite", "nosuch"), "Unknown suite 'nosuch'"),
        (("describe", "--suite", "shops.yaml", "--plot", "d.gif"), "End its name in one of .png, .svg, .pdf"),
        (("fetch", "nothing-like-it"), "Unknown data set"),
        (("verify", "movielens-100k-action", "--suite", "cdsr"), "Name either data sets or a suite."),
    ],
)
def test_invalid_arguments_give_a_one_line_error(
    folder: Path, harness, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = harness("data", *arguments)
    assert (code, message in err, err.count("\n")) == (2, True, 1), err


def test_list_shows_every_data_set(folder: Path, harness) -> None:
    code, out, _ = harness("data", "list")
    assert code == 0
    for name in dataset_names():
        line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        installed = name.startswith("movielens-100k")
        assert line.split()[1] == ("yes" if installed else "fetch" if load_dataset(name).files else "by")
    data_sets = json.loads(harness("data", "list", "--json")[1])
    assert {d["name"] for d in data_sets} == set(dataset_names())
    assert all(f["url"].startswith("https://") for d in data_sets for f in d["files"])


def test_fetched_files_are_prepared_and_verified(folder: Path, harness, monkeypatch: pytest.MonkeyPatch) -> None:
    published = folder / "published"
    published.mkdir()
    (published / "events.csv").write_bytes((folder / "left.csv").read_bytes())
    (published / "items.csv").write_bytes((folder / "items.csv").read_bytes())

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, directory=str(published), **options)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    source = make_source({"source": "table", "interactions": "shop/events.csv", "items": "shop/items.csv"})
    files = tuple(RemoteFile(f"{address}/{name}", name) for name in ("events.csv", "items.csv"))
    shop = Dataset("shop", "a shop", source, Path("shop"), files, address, "free")
    data_sets = {**datasets._all(), "shop": shop}
    monkeypatch.setattr(datasets, "_all", lambda: data_sets)

    code, out, err = harness("data", "fetch", "shop")
    assert (code, out.count("first use"), "shop: free" in err) == (0, 2, True), err
    assert harness("data", "fetch", "shop")[1].count("exists") == 2
    code, out, _ = harness("data", "prepare", "shop", "--k-core", "1")
    assert (code, "shop: 40 users" in out) == (0, True)
    code, out, _ = harness("data", "prepare", "shop", "--k-core", "1", "--ties", "file", "--json")
    assert (code, json.loads(out)[0]["ties"]["order"]) == (0, "file")
    code, out, _ = harness("data", "verify", "shop", "--k-core", "1")
    assert (code, out.count(": ok (its hash when fetched)")) == (0, 2)
    (folder / "data" / "shop" / "items.csv").write_text("item_id,title\ni1,other\n")
    code, out, _ = harness("data", "verify", "shop", "--k-core", "1")
    assert (code, "items.csv: changed" in out) == (1, True)
    code, _, err = harness("data", "fetch", "shop")
    assert (code, "SHA-256" in err) == (2, True)
    server.shutdown()
    (folder / "data" / "shop" / "items.csv").unlink()
    server.server_close()
