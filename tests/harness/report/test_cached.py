"""Reports from the cache: the same text, and made anew as soon as a file or the code differs."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.report import cached
from harness.report.cached import KIND, BoardReport, Reports
from harness.report.collect import collect
from harness.report.leaderboard import leaderboard
from harness.run.cache import entries, fault, prunable, prune
from harness.storage.store import Store
from tests.harness.report.made_results import write_made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results of two methods."""
    for seed in (0, 1):
        write_made(tmp_path / "results", "a", seed, {"full": [0, 1, 2, 30]})
        write_made(tmp_path / "results", "b", seed, {"full": [3, 1, 9, 40]})
    return tmp_path / "results"


class Counted(Reports):
    """Counts how often it reads results."""

    count = 0

    def _collect(self, suite, number):
        type(self).count += 1
        return super()._collect(suite, number)


@pytest.fixture(autouse=True)
def no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "count", 0)


def report(results: Path) -> BoardReport:
    return Counted(results, Store(results.parent / "cache" / "store")).board("made", 1)


def test_a_second_report_is_the_same_and_reads_no_result(results: Path) -> None:
    first = report(results)
    assert first.text == leaderboard(collect(results, "made", 1))
    assert first.overview in first.text
    assert report(results) == first
    assert Counted.count == 1


def test_a_changed_result_makes_a_new_report_in_place_of_the_old(results: Path) -> None:
    first = report(results)
    write_made(results, "a", 1, {"full": [0, 0, 0, 0]})
    second = report(results)
    assert second.text == leaderboard(collect(results, "made", 1))
    assert second != first
    assert len(list((results.parent / "cache" / "store" / KIND).iterdir())) == 1


def test_a_result_that_was_tampered_with_is_refused_though_the_report_is_kept(results: Path) -> None:
    report(results)
    path = next(results.rglob("a-seed0.json"))
    path.write_text(path.read_text().replace('"ndcg@10": 0.', '"ndcg@10": 0.9', 1))
    with pytest.raises(HarnessError, match="metrics on full are not what"):
        report(results)


def test_changed_code_makes_a_new_report(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(results)
    monkeypatch.setattr(cached, "_own_code", lambda: "other")
    report(results)
    assert Counted.count == 2


def test_with_columns_or_metrics_of_other_packages_nothing_is_kept(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "has_other_packages", lambda group: group == cached.METRICS)
    report(results)
    report(results)
    assert Counted.count == 2
    assert not (results.parent / "cache").exists()


def test_a_report_of_files_that_change_meanwhile_is_not_kept(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collected(self, suite, number):
        write_made(results, "a", 1, {"full": [0, 0, 0, 0]})
        return collect(results, suite, number)

    monkeypatch.setattr(Counted, "_collect", collected)
    shown = report(results)
    monkeypatch.undo()
    assert not list((results.parent / "cache").rglob("report.json"))
    assert report(results) == shown


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{}"), lambda path: path.unlink()])
def test_a_damaged_entry_is_found_pruned_and_made_anew(results: Path, damage) -> None:
    first, cache = report(results), results.parent / "cache"
    damage(next(cache.rglob("report.json")))
    (entry,) = entries(cache)
    assert (entry.kind, entry.label) == (KIND, "board of made/v1")
    assert fault(entry, cache)
    assert report(results) == first
    assert Counted.count == 2
    assert fault(entry, cache) is None
    damage(next(cache.rglob("report.json")))
    assert [each.reason for each in prune(cache, prunable(cache))] == ["corrupt"]
    assert entries(cache) == []


def test_a_cache_that_cannot_be_written_to_keeps_no_report(results: Path) -> None:
    (results.parent / "cache").write_text("a file")
    assert report(results).text == leaderboard(collect(results, "made", 1))


def test_a_claim_page_follows_its_file_and_the_results(results: Path) -> None:
    path = results.parent / "claims.yaml"
    claim = {"claim": "A is better.", "gain": {"of": "a", "over": "b"}, "decide": "More users."}
    claims = {"title": "Claims", "source": "a paper", "setting": "none", "suites": ["made/v1", "no/v1"]}
    path.write_text(json.dumps({**claims, "claims": [claim]}))

    def page() -> str:
        return Counted(results, Store(results.parent / "cache" / "store")).claim_page(path)

    first = page()
    assert "No results yet: `no/v1`" in first
    assert page() == first
    assert Counted.count == 1
    write_made(results, "a", 1, {"full": np.array([0, 0, 0, 0])})
    assert page() != first
    path.write_text(json.dumps({**claims, "title": "Others", "claims": [claim]}))
    assert page().startswith("# Others")
    assert Counted.count == 3


def test_a_report_is_json(results: Path) -> None:
    report(results)
    kept = json.loads(next((results.parent / "cache").rglob("report.json")).read_text())
    assert kept.keys() == asdict(report(results)).keys()
