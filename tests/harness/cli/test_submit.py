"""`harness submit` and `harness check-submission`: a sound submission passes, spoilt ones are refused in one line."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness.methods import method_file
from harness.results.submission import CARD, MANIFEST
from harness.run.submission import pack_submission
from harness.run.suite import run_suite
from tests.harness.cli.test_run import harness
from tests.harness.run.submissions import (
    CARD_TEXT,
    LISTS,
    METHOD,
    RANKS,
    RESULT,
    SCENARIO,
    SOURCE,
    STEM,
    edit_card,
    edit_json,
    edit_table,
    edit_text,
    put,
    renew,
    sign,
    swap,
)
from tests.plugin import Shop

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A folder with a suite, prepared data and a packed submission; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    Shop(folder, "popularity")
    suite = folder / "small.yaml"
    suite.write_text(suite.read_text().replace("candidates: [full]", "candidates: [full, sampled-5]"))
    (folder / "my_method.py").write_text(SOURCE)
    (folder / "card.yaml").write_text(CARD_TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(method_file, "_imported", {})
        folders = {"cache_dir": folder / ".harness", "data_dir": folder, "output_dir": folder / "leaderboards"}
        run_suite(
            str(suite),
            methods=["./my_method.py:Latest"],
            scenarios=[SCENARIO],
            device="cpu",
            jobs=0,
            stop_on_error=True,
            console=Console(quiet=True),
            **folders,
        )
        results = sorted((folders["output_dir"] / "results").glob(f"*/*/*/{METHOD}-seed*.json"))
        packed = pack_submission(results, folder / "card.yaml", suite=str(suite), **folders)
        shutil.rmtree(folders["output_dir"] / "results")
        sys.modules.pop("my_method", None)
    return SimpleNamespace(folder=folder, packed=packed.folder, checked=packed.checked)


@pytest.fixture
def submitted(shop: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the submission, that may be spoilt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(shop.folder / ".harness"))
    copy = tmp_path / "leaderboards" / "submissions" / "small" / "v1" / METHOD
    shutil.copytree(shop.packed, copy)
    return copy


@pytest.fixture
def check(shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Check a submission; return exit code, standard output and standard error."""
    suite = str(shop.folder / "small.yaml")

    def run(folder: Path, *options: str) -> tuple[int, str, str]:
        return harness(monkeypatch, capsys, "check-submission", str(folder), "--suite", suite, *options)

    return run


def test_a_sound_submission_passes(shop: SimpleNamespace, submitted: Path, check) -> None:
    assert (shop.checked.results, shop.checked.rows, shop.checked.not_compared) == (2, 40, None)
    code, out, err = check(submitted)
    assert (code, err) == (0, ""), err
    assert f"{METHOD} on small/v1, 2 results with 40 rows: metrics recomputed from ranks; users," in out
    code, out, _ = check(submitted, "--data", "skip", "--json")
    assert code == 0
    (only,) = json.loads(out)["checked"]
    assert (only["method"], only["results"], only["not_compared"]) == (METHOD, 2, "it was not asked for")


def write(name: str, content: str | bytes, listed: bool = True) -> Spoil:
    """Add or replace a file; list it in the manifest, or not."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        if listed:
            sign(folder)

    return spoil


def remove(*names: str, listed: bool = False) -> Spoil:
    """Remove files; leave them in the manifest, or not."""

    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()
        if not listed:
            sign(folder)

    return spoil


def first_file(**changes: Any) -> Spoil:
    """Change the manifest's first record of a file."""
    return edit_json(MANIFEST, lambda manifest: manifest["files"][0].update(changes))


def in_order(*steps: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        for step in steps:
            step(folder)

    return spoil


def link(name: str, target: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        if path.is_file():
            path.unlink()
        path.symlink_to(target)

    return spoil


def oversize(name: str, size: int) -> Spoil:
    return lambda folder: os.truncate(folder / name, size)


#: What is done to the files of a submission, the file that the message names, and what it says.
FILES: list[tuple[Spoil, str, str]] = [
    (remove(MANIFEST, listed=True), MANIFEST, "missing"),
    (write(MANIFEST, "{", False), MANIFEST, "row 1: not JSON"),
    (write(MANIFEST, '{\n"suite": "small",\n}', False), f"{MANIFEST}, row 3", "not JSON"),
    (write(MANIFEST, "[]", False), MANIFEST, "not a mapping"),
    (write(MANIFEST, '{"suite": "a", "suite": "b"}', False), MANIFEST, "the key 'suite' is there twice"),
    (write(MANIFEST, "[" * 100_000, False), MANIFEST, "nested too deeply"),
    (write(MANIFEST, b"\xff\xfe", False), MANIFEST, "cannot be read as UTF-8"),
    (write(MANIFEST, '{"suite_version": NaN}', False), MANIFEST, "NaN is no JSON number"),
    (edit_json(MANIFEST, lambda m: m.update(note="x")), MANIFEST, "note: there is no such key"),
    (edit_json(MANIFEST, lambda m: m.pop("suite")), MANIFEST, "suite: Field required"),
    (edit_json(MANIFEST, lambda m: m.update(schema_version=2)), MANIFEST, "schema_version: Input should be 1"),
    (
        edit_json(MANIFEST, lambda m: m.update(suite_version="1")),
        MANIFEST,
        "suite_version: Input should be a valid int",
    ),
    (edit_json(MANIFEST, lambda m: m.update(method="../x")), MANIFEST, "method: String should match"),
    (edit_json(MANIFEST, lambda m: m["files"].append(m["files"][0])), MANIFEST, "is listed twice"),
    (first_file(path="../../../../etc/passwd"), MANIFEST, "leads out of the folder"),
    (first_file(path="/etc/passwd"), MANIFEST, "leads out of the folder"),
    (first_file(path="..\\x"), MANIFEST, "leads out of the folder"),
    (first_file(path=MANIFEST), CARD, "submission.json does not list it"),
    (
        edit_json(MANIFEST, lambda m: m["files"].append({**m["files"][0], "path": MANIFEST})),
        MANIFEST,
        "it lists itself",
    ),
    (first_file(sha256="0" * 64), CARD, "not the file whose SHA-256"),
    (first_file(bytes=1), CARD, "not the file whose SHA-256"),
    (lambda folder: (folder / RANKS).write_bytes(b"PAR1"), RANKS, "not the file whose SHA-256"),
    (remove(RANKS, listed=True), RANKS, "missing, but submission.json lists it"),
    (remove(RANKS), RANKS, "No ranks file"),
    (remove(LISTS), LISTS, "No file of recommendation lists"),
    (remove(f"{SCENARIO}/users.parquet"), "users.parquet", "No file of users"),
    (remove(f"{SCENARIO}/items.parquet"), "items.parquet", "No file of items"),
    (remove(RESULT), LISTS, "its result my_method.Latest-seed0.json is missing"),
    (remove(CARD), CARD, "No card"),
    (write("notes.yaml", "a: 1", False), "notes.yaml", "submission.json does not list it"),
    (write(f"{SCENARIO}/more.json", "{}"), "more.json", "no file of a submission of my_method.Latest"),
    (write(f"{SCENARIO}/{METHOD}-seed00.json", "{}"), "seed00.json", "no file of a submission"),
    (write("results.json", "{}"), "results.json", "no file of a submission"),
    (write("other/users.parquet", "x"), "other/users.parquet", "no result of its scenario is there"),
    (write("model.pkl", b"\x80\x04."), "model.pkl", "never pickles"),
    (write(f"{SCENARIO}/model.pt", b"PK"), "model.pt", "never pickles"),
    (write("run.py", "print(1)"), "run.py", "never pickles"),
    (write("all.zip", b"PK"), "all.zip", "never pickles"),
    (write(".hidden.json", "{}"), ".hidden.json", "an odd name"),
    (write("a b.json", "{}"), "a b.json", "an odd name"),
    (write("a\nb.json", "{}"), "a b.json", "an odd name"),
    (lambda folder: (folder / SCENARIO / "deeper").mkdir(), "deeper", "a folder inside that of a scenario"),
    (link(LISTS, "/etc/passwd"), LISTS, "a link"),
    (link("drama", SCENARIO), "drama", "a link"),
    (lambda folder: os.mkfifo(folder / "pipe.json"), "pipe.json", "no plain file"),
    (lambda folder: (folder / RESULT).chmod(0o755), RESULT, "an executable file"),
    (oversize(CARD, 200_000), CARD, "200,000 bytes, more than 100,000"),
    (oversize(RESULT, 5_000_000), RESULT, "5,000,000 bytes, more than 4,000,000"),
    (oversize(RANKS, 10**8), RANKS, "100,000,000 bytes, more than 64,000,000"),
    (write(RANKS, "a,b\n1,2\n"), RANKS, "not a Parquet file"),
    (lambda folder: (oversize(RANKS, 500)(folder), sign(folder)), RANKS, "not a Parquet file"),
]

CARDS: list[tuple[Spoil, str, str]] = [
    (edit_card(used_test_events="true"), CARD, "used_test_events: Input should be False"),
    (edit_card(used_test_events=None), CARD, "used_test_events: Field required"),
    (edit_card(licence=None), CARD, "licence: Field required"),
    (edit_card(award="best"), CARD, "award: there is no such key"),
    (edit_card(authors="[]"), CARD, "authors: List should have at least 1 item"),
    (edit_card(contact="5"), CARD, "contact: Input should be a valid string"),
    (edit_card(code="javascript:alert(1)"), CARD, "code: String should match"),
    (edit_card(code="'https://example.org/)[x](y'"), CARD, "code: String should match"),
    (edit_card(title='"two\\nlines"'), CARD, "title: String should match"),
    (edit_card(method="sasrec"), CARD, "method: 'sasrec', but the results are of 'my_method.Latest'"),
    (edit_card(trained_on="[left, movies]"), CARD, "trained_on: Unknown domain 'movies'"),
    (edit_card(trained_on="[left]"), CARD, "trained_on: right is missing"),
    (edit_card(title="[a"), CARD, "not valid YAML"),
    (edit_card(title="!!python/object/apply:os.system [ls]"), CARD, "line 9"),
]


def metric(value: float, slice_name: str = "all") -> Spoil:
    return edit_json(RESULT, lambda r: r["candidates"]["full"]["metrics"][slice_name].update({"ndcg@10": value}))


RESULTS: list[tuple[Spoil, str, str]] = [
    (edit_json(MANIFEST, lambda m: m.update(suite_fingerprint="0" * 64)), MANIFEST, "suite_fingerprint: not that"),
    (edit_json(MANIFEST, lambda m: m["environments"][0]["packages"].update(numpy="0")), MANIFEST, "environments: not"),
    (edit_json(RESULT, lambda r: r["packages"].update(numpy="0")), MANIFEST, "environments: not"),
    (edit_json(RESULT, lambda r: r.update(suite_version=2)), RESULT, "it is of small/v2, not of small/v1"),
    (edit_json(RESULT, lambda r: r.update(suite="cdsr")), RESULT, "it is of cdsr/v1"),
    (edit_json(RESULT, lambda r: r.update(schema_version=3)), RESULT, "is a result of schema version 3, not 4"),
    (edit_json(RESULT, lambda r: r.update(award="best")), RESULT, "award: Extra inputs are not permitted"),
    (edit_json(RESULT, lambda r: r.pop("budget")), RESULT, "budget: Field required"),
    (edit_text(RESULT, '"fit_s": 0', '"fit_s": NaN, "x": 0'), RESULT, "NaN is no JSON number"),
    (
        metric(0.9),
        RESULT,
        "the metrics on full are not what my_method.Latest-seed0.parquet gives (all: ndcg@10: 0.9 in",
    ),
    (metric(0.9, "tail_items"), RESULT, "(tail_items: ndcg@10: 0.9 instead of"),
    (metric(float("inf")), RESULT, "Infinity is no JSON number"),
    (
        edit_json(RESULT, lambda r: r["candidates"]["full"]["metrics"]["all"].pop("hr@5")),
        RESULT,
        "metrics.all: 'hr@5' is missing",
    ),
    (
        edit_json(RESULT, lambda r: r["candidates"]["full"]["metrics"]["all"].update({"joy@10": 1.0})),
        RESULT,
        "'joy@10' is not a metric that ranks give",
    ),
    (edit_json(RESULT, lambda r: r.update(method="other")), RESULT, "it holds other on left-from-right, seed 0"),
    (edit_json(RESULT, lambda r: r.update(seed=1)), RESULT, "it holds my_method.Latest on left-from-right, seed 1"),
    (edit_json(RESULT, lambda r: r["scenario"].update(name="x")), RESULT, "does not match its target, sources"),
    (edit_json(RESULT, lambda r: r.update(settings={"lr": 1})), f"{METHOD}-seed1.json", "other settings than"),
    (edit_json(RESULT, lambda r: r.update(learns_from=["left"])), f"{METHOD}-seed1.json", "other domains learnt from"),
    (edit_json(RESULT, lambda r: r.update(learns_from=["left", "x"])), RESULT, "learns_from: not the domains"),
    (edit_json(RESULT, lambda r: r["leakage"].update(exposed_users=0.0)), RESULT, "leakage: exposed_users: 0.0"),
    (
        edit_json(RESULT, lambda r: r["data"]["left"].update(fingerprint="0" * 64)),
        RESULT,
        "data: left: 000000000000 in",
    ),
    (edit_json(RESULT, lambda r: r["data"]["right"].update(items=9)), RESULT, "data.right: items: 9 instead of 25"),
    (edit_json(RESULT, lambda r: r["budget"].update(epochs=9)), RESULT, "budget: epochs: 9 instead of 1"),
    (edit_json(RESULT, lambda r: r.update(candidate_seed=3)), RESULT, "candidates: sampled-5 (seed 3) instead of"),
    (
        edit_json(RESULT, lambda r: r["candidates"]["sampled-5"].update(digest="0")),
        RESULT,
        "drawn candidates: sampled-5",
    ),
    (edit_json(RESULT, lambda r: r["candidates"].pop("sampled-5")), RESULT, "candidates: not those of the ranks"),
    (edit_json(RESULT, lambda r: r["candidates"]["full"].update(unscored=2)), RESULT, "candidates.full.unscored"),
    (edit_json(RESULT, lambda r: r.update(left_out=1)), RESULT, "left_out: not the target's users"),
    (edit_json(RESULT, lambda r: r["slices"].update(cold_items=7)), RESULT, "slices: not those of the ranks"),
    (edit_json(RESULT, lambda r: r["scenario"].update(split="temporal/1/2")), RESULT, "does not match"),
    (edit_json(RESULT, lambda r: r["scenario"]["k_core"].update(left=5)), RESULT, "k-core: left: 5 instead of 1"),
    (edit_json(RESULT, lambda r: r.update(ranks_sha256="0" * 64)), RANKS, "is not the ranks file that"),
    (edit_json(RESULT, lambda r: r.update(users_sha256="0" * 64)), "users.parquet", "does not hold the users"),
    (edit_json(RESULT, lambda r: r.update(lists_sha256="0" * 64)), LISTS, "is not the file of lists that"),
]


def all_rows(column: str, change: Callable[[Any], Any]) -> Spoil:
    return edit_table(RANKS, lambda frame: frame.assign(**{column: change(frame[column])}))


def drop_user(folder: Path) -> None:
    """Leave out the last test user, whose item the method ranks low, and everything that would tell."""
    for name in (
        f"{SCENARIO}/users.parquet",
        *(f"{SCENARIO}/{METHOD}-seed{seed}{end}" for seed in (0, 1) for end in (".parquet", ".lists.parquet")),
    ):
        edit_table(name, lambda frame: frame.iloc[:-1])(folder)
    for seed in (0, 1):
        edit_json(f"{SCENARIO}/{METHOD}-seed{seed}.json", lambda r: r.update(left_out=1))(folder)


ROWS: list[tuple[Spoil, str, str]] = [
    (edit_table(RANKS, put("full/above", 2, 0)), f"{LISTS}, row 3", "the held-out item is"),
    (edit_table(RANKS, lambda f: swap(f, 1, 6, ["full/above", "full/tied"])), f"{LISTS}, row", "the held-out item is"),
    (edit_table(RANKS, put("full/above", 4, -1)), f"{RANKS}, row 5", "full has an impossible rank"),
    (edit_table(RANKS, put("full/above", 4, 99)), f"{RANKS}, row 5", "full has an impossible rank"),
    (edit_table(RANKS, put("full/tied", 7, 40)), f"{RANKS}, row 8", "full has an impossible rank"),
    (edit_table(RANKS, put("sampled-5/above", 19, 5)), f"{RANKS}, row 20", "sampled-5 has an impossible rank"),
    (edit_table(RANKS, put("full/candidates", 9, 21)), f"{RANKS}, row 10", "21 candidates of full, where the data"),
    (all_rows("full/candidates", lambda c: c + 5), f"{RANKS}, row 1", "candidates of full, where the data give 19"),
    (all_rows("sampled-5/candidates", lambda c: c + 1), f"{RANKS}, row 1", "6 candidates of sampled-5, where"),
    (all_rows("full/above", lambda c: c.astype(float)), RANKS, "column 'full/above' is not one of ranks"),
    (all_rows("full/above", lambda c: c.where(c.index != 3)), RANKS, "column 'full/above' is not one of ranks"),
    (
        edit_table(RANKS, lambda f: f.assign(**{"full/above": 0, "sampled-5/above": 4})),
        f"{RESULT}, row",
        "sampled-5: more items above than among",
    ),
    (edit_table(RANKS, lambda f: f.assign(**{"full/unscored": True})), f"{RESULT}, row 1", "unscored, but with a rank"),
    (edit_table(RANKS, lambda f: f.assign(**{"full/chance": 0.5})), f"{RESULT}, row 1", "full: a chance below 1"),
    (edit_table(RANKS, lambda f: f.assign(**{"full/score": 1})), RANKS, "column 'full/score' is not one of ranks"),
    (edit_table(RANKS, lambda f: f.assign(password="x")), RANKS, "column 'password' is not one of ranks"),
    (edit_table(RANKS, lambda f: f.drop(columns="full/tied")), RANKS, "column 'full/tied' is missing"),
    (edit_table(RANKS, lambda f: f.iloc[:-1]), RESULT, "20 users, but 19 rows of ranks"),
    (edit_table(RANKS, lambda f: pd.concat([f, f.iloc[-1:]])), RESULT, "20 users, but 21 rows of ranks"),
    (
        edit_table(
            RANKS,
            lambda f: f.assign(
                **{"full-history-kept/above": 0, "full-history-kept/tied": 0, "full-history-kept/candidates": 25}
            ),
        ),
        RESULT,
        "candidates: ",
    ),
    (
        edit_table(RANKS, lambda f: put("slice/head_items", 3, not f["slice/head_items"][3])(f)),
        f"{RANKS}, row 4",
        "slice/",
    ),
    (edit_table(RANKS, lambda f: f.assign(**{"slice/friends": True})), RANKS, "'slice/friends' is of no slice"),
    (edit_table(RANKS, lambda f: f.drop(columns="slice/tail_items")), RANKS, "'slice/tail_items' is missing"),
    (edit_table(RANKS, lambda f: put("slice/all", 3, False)(f)), RANKS, "column 'slice/all' is missing or incomplete"),
    (
        edit_table(f"{SCENARIO}/users.parquet", lambda f: swap(f, 2, 5)),
        f"{LISTS}, row 3",
        "the held-out item is",
    ),
    (
        edit_table(f"{SCENARIO}/users.parquet", lambda f: swap(f, 2, 5, ["user_id"])),
        "users.parquet, row 3",
        "where the scenario has",
    ),
    (
        edit_table(f"{SCENARIO}/users.parquet", lambda f: swap(f, 2, 5, ["item_id"])),
        ", row 3",
        "held-out item",
    ),
    (edit_table(f"{SCENARIO}/users.parquet", put("user_id", 4, "u99")), "users.parquet, row 5", "user 'u99', where"),
    (
        edit_table(f"{SCENARIO}/users.parquet", put("user_id", 4, "u0")),
        "users.parquet, row 5",
        "user 'u0' stands in it",
    ),
    (
        edit_table(f"{SCENARIO}/users.parquet", lambda f: f.assign(score=1)),
        "users.parquet",
        "its columns are not item_id",
    ),
    (drop_user, "users.parquet, row 19", "the last row, but the scenario has 20 test users"),
    (edit_table(LISTS, lambda f: swap(f, 0, 7)), f"{LISTS}, row 1", "item"),
    (edit_table(LISTS, lambda f: put("items", 3, f["items"][3][::-1])(f)), f"{LISTS}, row 4", "the held-out item is"),
    (
        edit_table(LISTS, lambda f: put("items", 5, np.r_[f["items"][5][:1], f["items"][5][:-1]])(f)),
        f"{LISTS}, row 6",
        "an item stands in the list twice",
    ),
    (edit_table(LISTS, put("items", 6, np.array(["left99"]))), LISTS, "item 'left99' is not in the catalogue"),
    (
        edit_table(LISTS, lambda f: put("items", 6, f["items"][6][:2])(f)),
        f"{LISTS}, row 7",
        "the held-out item is not in",
    ),
    (edit_table(LISTS, put("items", 6, np.array([f"left{i}" for i in range(21)]))), LISTS, "a list is not whole"),
    (edit_table(LISTS, lambda f: f.iloc[1:]), LISTS, "does not hold a list of items for each of 20 users"),
    (edit_table(LISTS, lambda f: f.assign(scores=1.0)), LISTS, "its columns are not items"),
    (
        edit_table(f"{SCENARIO}/items.parquet", lambda f: swap(f, 0, 1)),
        "items.parquet, row 1",
        "where the scenario has",
    ),
    (
        edit_table(f"{SCENARIO}/items.parquet", lambda f: put("training_interactions", 3, 77)(f)),
        "items.parquet, row 4",
        "with 77 training interactions, where the scenario",
    ),
    (
        edit_table(f"{SCENARIO}/items.parquet", lambda f: pd.concat([f, f.iloc[-1:].assign(item_id="left25")])),
        "items.parquet, row 26",
        "26 items, where the scenario has 25",
    ),
]


@pytest.mark.parametrize(("spoil", "file", "message"), [*FILES, *CARDS, *RESULTS, *ROWS])
def test_a_spoilt_submission_is_refused_in_one_line_that_names_file_and_row(
    submitted: Path, check, spoil: Spoil, file: str, message: str
) -> None:
    spoil(submitted)
    code, out, err = check(submitted)
    assert (code, out) == (2, ""), err
    assert (file in err, message in err, err.count("\n")) == (True, True, 1), err


def test_a_history_item_in_a_list_is_refused(submitted: Path, check) -> None:
    """The list keeps its length and the held-out item its place."""
    from harness.results.users import TestUsers

    users = TestUsers.from_parquet(submitted / SCENARIO / "users.parquet")

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        items = frame["items"][0]
        missing = sorted({f"left{i}" for i in range(25)} - set(items))  # 19 candidates: the rest is history
        place = next(i for i, item in enumerate(items) if item != users.item_ids[0])
        changed = np.array(items, dtype=object)
        changed[place] = missing[0]
        return put("items", 0, changed)(frame)

    edit_table(LISTS, change)(submitted)
    code, _, err = check(submitted)
    assert (code, "row 1: the list holds an item of the user's history" in err) == (2, True), err


def test_a_row_that_is_on_the_board_already_is_refused(submitted: Path, check) -> None:
    own = Path("leaderboards", "results", "small", "v1", SCENARIO, f"{METHOD}-seed0.json")
    own.parent.mkdir(parents=True)
    for name in (own.name, Path(RANKS).name, "users.parquet"):
        shutil.copy(submitted / SCENARIO / name, own.with_name(name))
    assert check(submitted)[0] == 0  # the submitter's own results folder
    own.write_text(own.read_text().replace('"fit_s"', ' "fit_s"'))
    code, _, err = check(submitted)
    assert (code, "seed 0, is there already" in err, err.count("\n")) == (2, True, 1), err
    own.unlink()
    submitted.with_name(METHOD.upper()).mkdir()
    code, _, err = check(submitted)
    assert (code, f"'{METHOD.upper()}' was submitted before" in err) == (2, True), err


def test_a_row_that_was_scored_outside_is_submitted_and_checked(
    shop: SimpleNamespace, submitted: Path, check, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists shorter than the catalogue, without some users, tied, and with items of histories."""
    rows = [(f"u{user}", f"left{item}", (7 * user + 5 * item) % 11) for user in range(17) for item in range(25)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "score"]).sort_values("score")
    frame.groupby("user_id").tail(14).to_csv("lists.csv", index=False)
    suite = str(shop.folder / "small.yaml")
    arguments = ("--suite", suite, "--scenario", SCENARIO, "--name", "listed", "--data-dir", str(shop.folder))
    assert harness(monkeypatch, capsys, "score", "lists.csv", *arguments)[0] == 0
    result = f"leaderboards/results/small/v1/{SCENARIO}/listed-seed0.json"
    Path("card.yaml").write_text(CARD_TEXT.replace(METHOD, "listed").replace("[left, right]", "[left]"))
    code, out, err = harness(monkeypatch, capsys, "submit", result, "--card", "card.yaml", "--suite", suite)
    assert (code, err) == (0, ""), err
    assert "Open a pull request that adds leaderboards/submissions/small/v1/listed, and nothing else." in out
    folder = submitted.with_name("listed")
    code, out, err = check(folder)
    assert (code, "listed on small/v1, 1 results with 20 rows" in out) == (0, True), err
    ranks = f"{SCENARIO}/listed-seed0.parquet"
    missed = int(np.iinfo(np.int32).max)
    first = int((pd.read_parquet(folder / ranks)["full/above"] != missed).argmax())
    edit_table(ranks, lambda f: put("full/tied", first, 0)(put("full/above", first, missed)(f)))(folder)
    code, _, err = check(folder)
    assert (code, f"row {first + 1}: the held-out item is in place" in err, err.count("\n")) == (2, True, 1), err


def renamed(folder: Path, method: str) -> Path:
    """The submission under another name, everywhere."""
    other = folder.with_name(method)
    folder.rename(other)
    for path in sorted(other.rglob(f"{METHOD}-*")):
        path.rename(path.with_name(path.name.replace(METHOD, method)))
    for path in (*other.glob("*/*.json"), other / CARD, other / MANIFEST):
        path.write_text(path.read_text().replace(METHOD, method))
    renew(other)
    return other


@pytest.mark.parametrize("method", ["popularity", "Popularity", "SASRec", "recbole.NARM"])
def test_the_names_of_the_harness_s_methods_are_taken(submitted: Path, check, method: str) -> None:
    code, _, err = check(renamed(submitted, method))
    assert (code, f"{method!r} is a method of the harness or of small/v1" in err, err.count("\n")) == (2, True, 1), err


def test_only_the_newest_version_of_a_suite_takes_submissions(
    submitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(suite: str, version: int) -> str:
        folder = submitted.parents[2] / suite / f"v{version}" / METHOD
        if folder != submitted:
            shutil.copytree(submitted, folder)
        edit_json(MANIFEST, lambda manifest: manifest.update(suite=suite, suite_version=version))(folder)
        code, _, err = harness(monkeypatch, capsys, "check-submission", str(folder))
        assert (code, err.count("\n")) == (2, 1)
        return err

    assert "suite: Unknown suite 'small'" in refusal("small", 1)
    assert "suite_version: 1, but the newest is 2" in refusal("cdsr", 1)
    assert "suite_fingerprint: not that of cdsr/v2" in refusal("cdsr", 2)


def test_a_folder_in_another_place_or_behind_a_link_is_refused(submitted: Path, check) -> None:
    for place in (submitted.with_name("other"), submitted.parents[1] / "v2" / METHOD):
        shutil.copytree(submitted, place)
        code, _, err = check(place)
        assert (code, "but in the folder" in err, err.count("\n")) == (2, True, 1), err
    behind = submitted.parents[2] / METHOD
    behind.symlink_to(submitted)
    code, _, err = check(behind)
    assert (code, "not a folder" in err) == (2, True)


def test_data_that_are_not_here_are_said_in_one_line(
    shop: SimpleNamespace, submitted: Path, check, tmp_path: Path
) -> None:
    suite = (shop.folder / "small.yaml").read_text()
    (tmp_path / "small.yaml").write_text(suite)
    options = ("--suite", str(tmp_path / "small.yaml"), "--cache-dir", str(tmp_path / "cache"))
    code, _, err = check(submitted, *options)
    assert (code, "The data of small/v1 cannot be rebuilt here" in err, err.count("\n")) == (2, True, 1), err
    code, out, _ = check(submitted, *options, "--data", "optional")
    assert (code, "NOT compared with data: The data of small/v1 cannot" in out, out.count("\n")) == (0, True, 1)


def test_without_data_users_are_compared_with_those_on_the_board(shop: SimpleNamespace, submitted: Path, check) -> None:
    own = Path("leaderboards", "results", "small", "v1", SCENARIO)
    own.mkdir(parents=True)
    for name in (f"{METHOD}-seed0.json", f"{METHOD}-seed0.parquet", "users.parquet"):
        shutil.copy(submitted / SCENARIO / name, own / name.replace(METHOD, "other"))
    assert check(submitted, "--data", "skip")[0] == 0
    users = f"{SCENARIO}/users.parquet"
    edit_table(users, lambda frame: swap(frame, 2, 5, ["user_id"]))(submitted)
    code, _, err = check(submitted, "--data", "skip")
    assert (code, "users.parquet, row 3: user" in err, err.count("\n")) == (2, True, 1), err
    edit_table(users, lambda frame: swap(frame, 2, 5, ["user_id"]))(submitted)
    edit_table(RANKS, lambda f: put("slice/head_items", 3, not f["slice/head_items"][3])(f))(submitted)
    code, _, err = check(submitted, "--data", "skip")
    assert (code, "put the same users into different slices" in err, err.count("\n")) == (2, True, 1), err


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "names no path"),
        (["harness/cli/app.py"], "harness/cli/app.py: not in the folder of a submission"),
        ([f"leaderboards/submissions/small/v1/{METHOD}/card.yaml", ".github/workflows/ci.yml"], "ci.yml: not in the"),
        (["leaderboards/submissions/README.md"], "README.md: not in the folder"),
        ([f"leaderboards/submissions/small/v1/{METHOD}/../../../../x"], "not in the folder"),
        (["leaderboards/submissions/small/v1/gone/card.yaml"], "the submission is removed"),
        (["leaderboards/results/small/v1/a/b.json"], "b.json: not in the folder"),
    ],
)
def test_a_pull_request_holds_submissions_only(
    submitted: Path,
    shop: SimpleNamespace,
    paths: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("check-submission", "--changed", "changed", "--suite", str(shop.folder / "small.yaml"))
    Path("changed").write_bytes(b"".join(path.encode() + b"\0" for path in paths))
    code, _, err = harness(monkeypatch, capsys, *arguments)
    assert (code, message in err, err.count("\n")) == (2, True, 1), err
    Path("changed").write_bytes(f"leaderboards/submissions/small/v1/{METHOD}/card.yaml\0".encode())
    assert harness(monkeypatch, capsys, *arguments)[0] == 0
    assert harness(monkeypatch, capsys, "check-submission")[0] == 2


def test_what_cannot_be_packed_is_refused(
    shop: SimpleNamespace, submitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = str(shop.folder / "card.yaml")
    suite = ("--suite", str(shop.folder / "small.yaml"))

    def submit(*arguments: str) -> tuple[int, str]:
        code, _, err = harness(monkeypatch, capsys, "submit", *arguments)
        assert err.count("\n") == 1, err
        return code, err

    result = str(submitted / RESULT)
    assert submit(result, "--card", "none.yaml", *suite)[1].startswith("harness: No card none.yaml")
    code, err = submit(result, "--card", card, *suite)
    assert (code, "is there already. Add --replace" in err) == (2, True)
    assert "Unknown suite 'small'" in submit(result, "--card", card)[1]
    copy = Path(shutil.copytree(submitted / SCENARIO, "copy")) / Path(result).name
    assert "another result of seed 0 is given too" in submit(result, str(copy), "--card", card, *suite, "--replace")[1]
    bad = Path("bad.yaml")
    bad.write_text(CARD_TEXT.replace("false", "true"))
    assert "used_test_events: Input should be False" in submit(result, "--card", str(bad), *suite, "--replace")[1]
    assert (submitted / RESULT).is_file()
    code, out, _ = harness(monkeypatch, capsys, "submit", result, "--card", card, *suite, "--replace", "--json")
    assert (code, json.loads(out)["results"]) == (0, 1)
    assert not (submitted / f"{SCENARIO}/{METHOD}-seed1.json").exists()
    assert STEM in result
