"""The suites that come with the harness are what their versions say, and a user's own need no code."""

import json
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.protocol.scenario import Suite
from harness.run.methods import suite_method
from harness.suites import load_suite, suite_names, suite_versions

#: What each version means. A digest that changes is a new version: add a file, never edit one that is published.
DEFINED = {
    "cdsr/v1": "992bec67eda88e5ac91b6a7d8c5695999c10fa14b3f5c6a26496586c1846cf0d",
    "cdsr-amazon/v1": "2000b1288d4d7a83830507d10d3ef9896eba8a85fb4d0966d16ef89c149d650a",
    "cdsr-amazon/v2": "6517a415fa7f142a3e1bbf1820c6fe4861de9814e79bbd035fa2857fb1d8493f",
    "cdsr-cross-platform/v1": "7fba8b9111146710524bca1d4fc051beb9d7af7cbe240f6b9deddb288609ef76",
    "cdsr-cross-platform/v2": "c728194eb882877f61969ec5fbd61782d6ffd7b4977439930497f2d022bb4d5b",
    "cdsr-planted/v1": "2e5461334bdf90f8a959fc603697f3f9976b02c0180c4b62f93c3696c24483f1",
    "cdsr-smoke/v1": "e930d7ee33414c00e62720de9597c507b9aa6ec6083bc066699bc37b0937dbd6",
    "paper/v1": "a86e5fe1cb239783c90e4168927297436282430ece771e6e62844a7eb2bbbd44",
}


def test_every_version_is_what_it_was() -> None:
    found = {
        load_suite(f"{name}/v{v}").id: load_suite(f"{name}/v{v}").digest
        for name in suite_names()
        for v in suite_versions(name)
    }
    assert found == DEFINED


def test_experiments_are_what_their_results_were_made_with() -> None:
    folder = Path("leaderboards/experiments")
    for path in sorted(folder.glob("results/*/v*/*/*.json")):
        result = json.loads(path.read_bytes())
        assert load_suite(str(folder / f"{result['suite']}.yaml")).digest == result["suite_digest"], path


@pytest.mark.parametrize(
    "name",
    ["cdsr", "cdsr-amazon/v1", "cdsr-amazon", "cdsr-cross-platform/v1", "cdsr-cross-platform", "cdsr-planted"],
)
def test_data_and_candidates_are_pinned(name: str) -> None:
    suite = load_suite(name)
    assert all(spec.fingerprint for spec in suite.domains)
    sampled = {str(kind) for kind in suite.candidates if kind.kind == "sampled"}
    assert all({kind for kind, _ in scenario.pins} == sampled for scenario in suite.scenarios)


@pytest.mark.parametrize(
    ("version", "names", "splits"),
    [
        (1, ["beauty", "sports", "toys"], ["leave-one-out"]),
        (2, ["beauty", "toys", "clothing"], ["leave-one-out", "temporal"]),
    ],
)
def test_amazon_has_every_pair_and_each_target_with_the_two_others(
    version: int, names: list[str], splits: list[str]
) -> None:
    scenarios = [(s.split, s.target, frozenset(s.sources)) for s in load_suite(f"cdsr-amazon/v{version}").scenarios]
    pairs = {(split, t, frozenset([s])) for split in splits for t in names for s in names if s != t}
    assert set(scenarios) == pairs | {(split, t, frozenset(names) - {t}) for split in splits for t in names}
    assert len(scenarios) == len(set(scenarios)) == 9 * len(splits)


@pytest.mark.parametrize("version", [1, 2])
def test_across_platforms_every_scenario_has_both_splits(version: int) -> None:
    scenarios = load_suite(f"cdsr-cross-platform/v{version}").scenarios
    by_split = {
        split: {(s.target, s.sources) for s in scenarios if s.split == split} for split in ("leave-one-out", "temporal")
    }
    assert by_split["leave-one-out"] == by_split["temporal"]
    assert {("steam", ("games",)), ("games", ("steam",)), ("games", ("movies",))} <= by_split["temporal"]


def test_titles_methods_and_seeds_do_not_change_what_a_suite_is_and_all_else_does(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    raw["suite"] = "mine"

    def digest(**changes: object) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | changes))
        return load_suite(str(path)).digest

    same = digest()
    assert digest(title="another", methods=["popularity"], seeds=[7]) == same
    for change in (
        {"version": 2},
        {"candidates": ["full", "sampled-30"]},
        {"candidate_seed": 1},
        {"least_recall": 0.9},
        {"split": "temporal"},
        {"overlap": "none"},
        {"budget": {"trials": 2, "epochs": 100, "patience": 5}},
        {"domains": [d | {"k_core": 6} for d in raw["domains"]]},
        {"domains": [d | {"ties": "hashed"} for d in raw["domains"]]},
        {"domains": [d | {"ties": "hashed", "tie_seed": 1} for d in raw["domains"]]},
        {"scenarios": raw["scenarios"][:-1]},
    ):
        assert digest(**change) != same, change


def test_ties_are_hashed_unless_a_suite_says_otherwise(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())

    def load(**options: object) -> Suite:
        domains = [{k: v for k, v in d.items() if k != "ties"} | options for d in raw["domains"]]
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", "domains": domains}))
        return load_suite(str(path))

    assert load() == load(ties="hashed", tie_seed=0)
    assert load().digest == load(ties="hashed").digest
    assert len({load(**o).digest for o in ({"ties": "hashed"}, {"tie_seed": 1}, {"ties": "file"})}) == 3
    for options, message in (
        ({"ties": "file", "tie_seed": 1}, "tie_seed is for ties: hashed"),
        ({"ties": "row"}, "'hashed' or 'file'"),
        ({"tie_seed": -1}, "tie_seed"),
    ):
        with pytest.raises(HarnessError, match=message):
            load(**options)


def test_where_there_are_no_timestamps_the_order_of_ties_changes_nothing(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr-amazon/v1.yaml").read_text())
    digests = set()
    for ties in ("hashed", "file"):
        path = tmp_path / "mine.yaml"
        domains = [d | {"ties": ties} for d in raw["domains"]]
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", "domains": domains}))
        digests.add(load_suite(str(path)).digest)
    assert len(digests) == 1


def test_versions_are_asked_for_by_name() -> None:
    assert load_suite("cdsr/v1") == load_suite("cdsr")
    assert load_suite("cdsr-amazon").version == 2  # the newest
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
    # The definition names no folder of anybody's machine.
    assert str(tmp_path) not in str(suite.definition)


def mine(tmp_path: Path, settings: object) -> Path:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw | {"suite": "mine", "settings": settings}))
    return path


def test_a_suite_s_settings_are_its_methods_and_part_of_what_it_is(tmp_path: Path) -> None:
    plain, own = (load_suite(str(mine(tmp_path, s))) for s in ({}, {"markov": {"prior": 7.0}}))
    assert plain.digest != own.digest
    assert suite_method(own, "markov").settings.prior == 7.0
    assert suite_method(plain, "markov").settings.prior != 7.0
    authors = suite_method(load_suite("paper"), "ranker.weaverec").settings
    assert authors.backbone == "Qwen/Qwen2-7B-Instruct"
    assert (authors.rank, authors.alpha, authors.learning_rate, authors.epochs) == (16, 32, 2e-4, 2)
    assert (authors.prompt.candidates, authors.prompt.answers, authors.prompt.max_tokens) == (30, 5, 1200)


@pytest.mark.parametrize("settings", [{"markov": {"pror": 7.0}}, {"popularity": {"x": 1}}])
def test_settings_that_a_method_lacks_are_refused(tmp_path: Path, settings: object) -> None:
    with pytest.raises(
        HarnessError, match=r"mine\.yaml: settings\.(markov\.pror: there is no such|popularity: the method takes no)"
    ):
        suite_method(load_suite(str(mine(tmp_path, settings))), next(iter(settings)))
