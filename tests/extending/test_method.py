"""A method is added from outside the repository, by a file or by an entry point, in at most 30 lines."""

import json
from pathlib import Path

import pytest

from tests.extending.commands import harness
from tests.extending.package import install, lines_of

#: A whole method: an item's score is how often it followed the user's latest item, with popularity for ties.
MY_METHOD = '''"""A first-order Markov chain."""

from dataclasses import dataclass, field

import numpy as np

from harness.methods.api import gather_candidates


@dataclass(frozen=True)
class ChainSettings:
    popularity: float = 0.001


@dataclass(frozen=True)
class Chain:
    settings: ChainSettings = field(default_factory=ChainSettings)

    def fit(self, data, context):
        n_items = len(data.target_domain.catalogue)
        followed = np.zeros((n_items, n_items), dtype=np.float32)
        for items in data.target_domain.train:
            np.add.at(followed, (items[:-1], items[1:]), 1)
        return ChainScorer(followed + self.settings.popularity * followed.sum(axis=0))


@dataclass(frozen=True)
class ChainScorer:
    table: np.ndarray

    def score(self, histories, candidates):
        return gather_candidates(self.table[[items[-1] for items in histories.sequences]], candidates)
'''
RUN = ("run", "--suite", "cdsr-smoke", "--method", "popularity", "--jobs", "1", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the method's file."""
    (tmp_path / "my_method.py").write_text(MY_METHOD)
    return tmp_path


def ndcg(folder: Path, method: str) -> float:
    path = folder / "leaderboards" / "results" / "cdsr-smoke" / "v1" / "action-from-comedy" / f"{method}-seed0.json"
    return json.loads(path.read_text())["candidates"]["full"]["metrics"]["all"]["ndcg@10"]


def test_a_method_takes_at_most_30_lines() -> None:
    assert lines_of(MY_METHOD) <= 30


def test_a_method_from_a_file_runs_at_once(folder: Path) -> None:
    run = harness(folder, *RUN, "--method", "./my_method.py:Chain")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["missing"] == [
        f"action-from-comedy/{m}-seed0" for m in ("popularity", "my_method.Chain")
    ]
    assert ndcg(folder, "my_method.Chain") > ndcg(folder, "popularity")
    assert "| my_method.Chain |" in (folder / "leaderboards" / "cdsr-smoke-v1.md").read_text().replace("*", "")
    again = harness(folder, *RUN, "--method", "my_method.py:Chain", "--dry-run")
    assert json.loads(again.stdout)["missing"] == []
    assert not list(folder.glob("__pycache__"))


def test_a_method_from_a_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", "outside_chain", MY_METHOD, {"methods": "my-chain = outside_chain:Chain"})
    run = harness(tmp_path, *RUN, "--method", "my-chain", packages=tmp_path / "site")
    assert run.returncode == 0, run.stderr
    assert ndcg(tmp_path, "my-chain") > ndcg(tmp_path, "popularity")
