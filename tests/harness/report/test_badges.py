"""Accepted submissions on boards, and the badges of rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.report.badges import badges
from harness.report.collect import collect
from harness.report.folders import boards_in
from harness.report.leaderboard import leaderboard
from harness.results.files import lists_path, ranks_path, read_result, users_path
from harness.results.matching import match_ranks
from harness.results.reproduction import Reproduction, verdict_of, write_reproduction
from harness.results.submission import CARD, MANIFEST
from tests.harness.report.made_results import write_made

CARD_TEXT = """
method: METHOD
title: Best | of [all]
authors: [Ada Lovelace]
contact: ada@example.org
code: https://example.org/code
licence: MIT
trained_on: [drama]
other_data: none
used_test_events: false
"""
VERIFIED = "verified_by_authors: https://example.org/we-say-so\n"
ABOVE = {"own": np.arange(30) % 7, "theirs": np.arange(30) % 5, "verified": np.arange(30) % 3}


def submit(results: Path, method: str, card: str) -> Path:
    """Write a result, and move it into a submission beside the results folder."""
    path = write_made(results, method, 0, {"full": ABOVE[method]})
    folder = results.parent / "submissions" / "made" / "v1" / method / path.parent.name
    folder.mkdir(parents=True)
    for each in (path, ranks_path(path)):
        shutil.move(each, folder / each.name)
    shutil.copy(users_path(path), users_path(folder / path.name))
    (folder.parent / CARD).write_text(card.replace("METHOD", method))
    (folder.parent / MANIFEST).write_text("{}")
    return folder / path.name


def record(path: Path, trained: bool = True) -> Reproduction:
    """The record of a run that came out equal."""
    result, table = read_result(path)
    ranks = match_ranks(table, table)
    artefact = {
        "label": "toy",
        "trained": trained,
        "same_key": True,
        "same_steps": True,
        "largest_validation_difference": 0.0,
    }
    return Reproduction(
        suite="made",
        suite_version=1,
        scenario=result.scenario.name,
        method=result.method,
        seed=result.seed,
        result_digest=result.content_digest(),
        verdict=verdict_of(ranks, True, 0.001),
        tolerance=0.001,
        ranks=ranks,
        lists=None,
        artefacts=(artefact,),
        same_data=True,
        differences={},
        code=result.code,
        provenance=result.provenance,
    )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_accepted_submissions_stand_on_the_board_with_their_badges(results: Path) -> None:
    own = write_made(results, "own", 0, {"full": ABOVE["own"]})
    theirs = submit(results, "theirs", CARD_TEXT)
    submit(results, "verified", CARD_TEXT + VERIFIED)
    write_reproduction(record(own), results.parent)
    write_reproduction(record(theirs), results.parent)
    board = collect(results, "made", 1)
    has = {entry.method: badges([entry]) for entry in board.entries}
    assert has == {
        "own": ("recomputed", "reproduced"),
        "theirs": ("recomputed", "reproduced"),
        "verified": ("recomputed", "verified"),
    }
    text = leaderboard(board)
    assert "| ownᴹ " in text
    assert "| theirsᴹ " in text
    assert "| **verifiedᴬ** " in text
    assert "Every metric in the result files was recomputed from their ranks. ᴬ: verified by its authors" in text
    section = text.partition("## Submitted rows")[2]
    assert r"Best \| of \[all\]" in section
    assert "[code](https://example.org/code), [verified](https://example.org/we-say-so)" in section
    assert "| own" not in section


def test_a_row_has_a_badge_if_all_of_its_results_have_it(results: Path) -> None:
    paths = [write_made(results, "own", seed, {"full": ABOVE["own"]}) for seed in (0, 1)]
    write_reproduction(record(paths[0]), results.parent)
    (entry,) = collect(results, "made", 1).entries
    assert badges([entry]) == ("recomputed",)
    write_reproduction(record(paths[1]), results.parent)
    assert badges([entry]) == ("recomputed", "reproduced")
    other = write_made(results, "own", 0, {"full": ABOVE["own"]}, scenario=("action", "drama"))
    entries = collect(results, "made", 1).entries
    assert badges(entries) == ("recomputed",)
    assert other.is_file()


def test_no_badge_for_another_result_or_for_trainings_from_a_cache(results: Path) -> None:
    own = write_made(results, "own", 0, {"full": ABOVE["own"]})
    write_reproduction(record(own, trained=False), results.parent)
    assert badges(collect(results, "made", 1).entries) == ("recomputed",)
    made = record(own)
    write_made(results, "own", 0, {"full": ABOVE["theirs"]})
    write_reproduction(made, results.parent)
    assert badges(collect(results, "made", 1).entries) == ("recomputed",)


def test_metrics_that_ranks_do_not_give_are_named(results: Path) -> None:
    own = write_made(results, "own", 0, {"full": ABOVE["own"]})
    content = json.loads(own.read_text())
    content["candidates"]["full"]["metrics"]["all"]["joy@10"] = 1.0
    own.write_text(json.dumps(content))
    board = collect(results, "made", 1)
    assert badges(board.entries) == ()
    assert "but for those that only the files of these hold: own." in leaderboard(board)


def test_a_submission_that_contradicts_the_board_is_refused(results: Path) -> None:
    write_made(results, "own", 0, {"full": ABOVE["own"]})
    path = submit(results, "theirs", CARD_TEXT)
    other = write_made(results.parent / "other", "theirs", 0, {"full": ABOVE["own"]}, items=("i3",) * 30)
    for each in (other, ranks_path(other), users_path(other)):
        shutil.copy(each, path.with_name(each.name))
    with pytest.raises(HarnessError, match="different test users"):
        collect(results, "made", 1)
    moved = path.with_name("theirs-seed1.json")
    path.rename(moved)
    ranks_path(path).rename(ranks_path(moved))
    with pytest.raises(HarnessError, match=r"theirs-seed1\.json holds the result of"):
        collect(results, "made", 1)


def test_a_suite_may_have_submissions_only_and_a_row_is_read_once(results: Path) -> None:
    path = submit(results, "theirs", CARD_TEXT)
    shutil.rmtree(results)
    assert boards_in(results) == [("made", 1)]
    assert boards_in(results, "other") == []
    (entry,) = collect(results, "made", 1).entries
    assert entry.paths == (path,)
    own = results / "made" / "v1" / path.parent.name / path.name
    own.parent.mkdir(parents=True)
    for each in (path, ranks_path(path), users_path(path)):
        shutil.copy(each, own.with_name(each.name))
    (entry,) = collect(results, "made", 1).entries
    assert entry.paths == (own,), "the submitter's own folder holds the same row"
    assert not lists_path(own).is_file()
