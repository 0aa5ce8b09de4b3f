"""The suites that come with the harness are what their versions say, and a user's own need no code."""

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.files import digest
from harness.protocol.scenario import Suite
from harness.run.methods import suite_method
from harness.suites import load_suite, suite_names, suite_versions

#: What each version means. A digest that changes is a new version: add a file, never edit one that is published.
DEFINED = {
    "cdsr/v1": "992bec67eda88e5ac91b6a7d8c5695999c10fa14b3f5c6a26496586c1846cf0d",
    "cdsr-amazon/v1": "2000b1288d4d7a83830507d10d3ef9896eba8a85fb4d0966d16ef89c149d650a",
    "cdsr-cross-platform/v1": "7fba8b9111146710524bca1d4fc051beb9d7af7cbe240f6b9deddb288609ef76",
    "cdsr-planted/v1": "2e5461334bdf90f8a959fc603697f3f9976b02c0180c4b62f93c3696c24483f1",
    "cdsr-smoke/v1": "e930d7ee33414c00e62720de9597c507b9aa6ec6083bc066699bc37b0937dbd6",
    "paper/v1": "a86e5fe1cb239783c90e4168927297436282430ece771e6e62844a7eb2bbbd44",
}


def defined(suite: Suite) -> str:
    """SHA-256 of all in a suite that can move a score: a guard of published files, which no result holds."""
    return digest(
        {
            "suite": suite.id,
            "domains": {s.name: [s.source.model_dump(mode="json"), s.k_core, s.fingerprint] for s in suite.domains},
            "scenarios": [asdict(scenario) for scenario in suite.scenarios],
            "candidates": [str(kind) for kind in suite.candidates],
            "candidate_seed": suite.candidate_seed,
            "least_recall": suite.least_recall,
            "metrics": [["hr", "ndcg", "mrr"], [1, 3, 5, 10, 20]],  # of the time when the first versions were made
            "budget": asdict(suite.budget),
            **({"settings": suite.settings} if suite.settings else {}),
        }
    )


def test_every_version_is_what_it_was() -> None:
    found = {
        load_suite(f"{name}/v{v}").id: defined(load_suite(f"{name}/v{v}"))
        for name in suite_names()
        for v in suite_versions(name)
    }
    assert found == DEFINED


@pytest.mark.parametrize("name", ["cdsr", "cdsr-amazon", "cdsr-cross-platform", "cdsr-planted"])
def test_data_and_candidates_are_pinned(name: str) -> None:
    suite = load_suite(name)
    assert all(spec.fingerprint for spec in suite.domains)
    sampled = {str(kind) for kind in suite.candidates if kind.kind == "sampled"}
    assert all({kind for kind, _ in scenario.pins} == sampled for scenario in suite.scenarios)


def test_amazon_has_every_pair_and_each_target_with_the_two_others() -> None:
    scenarios = {(s.target, frozenset(s.sources)) for s in load_suite("cdsr-amazon").scenarios}
    names = ["beauty", "sports", "toys"]
    pairs = {(t, frozenset([s])) for t in names for s in names if s != t}
    assert scenarios == pairs | {(t, frozenset(names) - {t}) for t in names}


def test_across_platforms_every_scenario_has_both_splits() -> None:
    scenarios = load_suite("cdsr-cross-platform").scenarios
    by_split = {
        split: {(s.target, s.sources) for s in scenarios if s.split == split} for split in ("leave-one-out", "temporal")
    }
    assert by_split["leave-one-out"] == by_split["temporal"]
    assert {("steam", ("games",)), ("games", ("steam",)), ("games", ("movies",))} <= by_split["temporal"]


def test_versions_are_asked_for_by_name() -> None:
    assert load_suite("cdsr/v1") == load_suite("cdsr")
    with pytest.raises(HarnessError, match="Unknown version of suite cdsr 'v9'"):
        load_suite("cdsr/v9")


def test_a_suite_of_the_user_s_own_needs_no_code(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        """
suite: mine
version: 3
title: "mine: [bold] text"
split: temporal
overlap: none
overlap_seed: 4
domains:
  - name: shop
    source: table
    data_dir: .
    interactions: clicks.csv
    items: products.csv
    columns: {user: who, item: what, timestamp: when}
    item_columns: {item: what, text: [title, maker]}
    users: shop
  - {name: games, dataset: amazon2018-game, k_core: 10}
scenarios:
  - {target: shop, sources: [games]}
  - {target: games, sources: [shop], split: leave-one-out, overlap: kept}
methods: [popularity]
budget: {trials: 1, epochs: 1, patience: 1}
"""
    )
    suite = load_suite(str(tmp_path / "mine.yaml"))
    assert suite.id == "mine/v3"
    assert [s.name for s in suite.scenarios] == ["shop-from-games.temporal.no-overlap", "games-from-shop"]
    assert suite.spec("shop").folder == tmp_path
    assert suite.spec("games").folder is None
    # What binds a result names no folder of anybody's machine.
    fingerprints = {"shop": "1" * 64, "games": "2" * 64}
    assert str(tmp_path) not in str(suite.conditions(suite.scenarios[0], fingerprints))


def mine(tmp_path: Path, settings: object) -> Path:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw | {"suite": "mine", "settings": settings}))
    return path


def test_a_suite_s_settings_are_its_methods(tmp_path: Path) -> None:
    plain, own = (load_suite(str(mine(tmp_path, s))) for s in ({}, {"markov": {"prior": 7.0}}))
    assert suite_method(own, "markov").settings.prior == 7.0
    assert suite_method(plain, "markov").settings.prior != 7.0
    authors = suite_method(load_suite("paper"), "ranker.weaverec").settings
    assert authors.backbone == "Qwen/Qwen2-7B-Instruct"
    assert (authors.rank, authors.alpha, authors.learning_rate, authors.epochs) == (16, 32, 2e-4, 2)
    assert (authors.prompt.candidates, authors.prompt.answers, authors.prompt.max_tokens) == (30, 5, 1200)


@pytest.mark.parametrize("settings", [{"markov": {"pror": 7.0}}, {"popularity": {"x": 1}}])
def test_settings_that_a_method_lacks_are_refused(tmp_path: Path, settings: object) -> None:
    with pytest.raises(HarnessError, match=r"pror|takes none"):
        suite_method(load_suite(str(mine(tmp_path, settings))), next(iter(settings)))
