"""Suites: published versions stay unchanged, and suite files are read as written."""

import json
import re
from pathlib import Path

import pytest
import yaml

from harness.errors import HarnessError
from harness.protocol.suite import Suite
from harness.results.files import read_record
from harness.run.methods import suite_method
from harness.storage.files import digest
from harness.suites import load_suite, suite_names, suite_versions

#: Digest of each published version. Never edit a published suite: add a file with a new version.
DIGESTS = {
    "cdsr/v1": "e57e21df007e10b651c4ce4589cc2e7d65d5260b5b5727975db17066f46009d3",
    "cdsr/v2": "48bd70196fa656ec20bb78be5109e100d9f5b32a66b90c8248ddb7f283b89c9d",
    "cdsr-amazon/v1": "c4ee69ce2d8b9b6c20143f3f54991b4fe7542f2365919f6f5fd4b282005796a1",
    "cdsr-amazon/v2": "cee0ddd2a2521cbc7c9c2a2751c845113d3dc19668cb3eaab0c83c2c4f688ec9",
    "cdsr-amazon-dense/v1": "20731e59b1646338ba0827a9eaa2824c51a6887402695449f0045a2b88399034",
    "cdsr-cross-platform/v1": "401ad790713c1ed93f2537e20cdfe37e597f3336b1c7b6a9645b228fc8013648",
    "cdsr-cross-platform/v2": "26e907fe5e1badbaf3dcbad740afe4b4af39579649a7208c37d2c50a7141a6f5",
    "cdsr-llm/v1": "bf14448280589b86333554403fa453ca7d7ffdfd7ac50c25cfc07821ddf02980",
    "cdsr-planted/v3": "d8d93e871e6c26cbccc457de813483c7272a2045602e1654101327f378f9a5df",
    "cdsr-smoke/v1": "10d3a531e58d850784d5f4a9f1892bdcf102df462fea006a162546ea45471625",
    "paper/v1": "eb583220054b8eed79f66cd24fd967a86ad74128bc895007282811adeb952f09",
}


def suite_digest(suite: Suite) -> str:
    """Return a digest of everything in a suite that affects scores: domains, conditions and settings."""
    fingerprints = {spec.name: spec.fingerprint or "" for spec in suite.domains}
    return digest(
        [
            {spec.name: spec.definition for spec in suite.domains},
            {scenario.name: suite.conditions(scenario, fingerprints) for scenario in suite.scenarios},
            suite.settings,
        ]
    )


def test_published_versions_are_unchanged() -> None:
    suites = [load_suite(f"{name}/v{version}") for name in suite_names() for version in suite_versions(name)]
    assert {suite.id: suite_digest(suite) for suite in suites} == DIGESTS


def test_experiments_have_the_conditions_of_their_suites() -> None:
    folder = Path("leaderboards/experiments")
    for path in sorted(folder.glob("results/*/v*/*/*.json")):
        result = read_record(path)
        suite = load_suite(str(folder / f"{result.suite}.yaml"))
        scenario = next(s for s in suite.scenarios if s.name == result.scenario.name)
        fingerprints = {name: record.fingerprint for name, record in result.data.items()}
        assert json.loads(json.dumps(suite.conditions(scenario, fingerprints))) == result.conditions, path


def test_files_of_code_that_suites_name_exist() -> None:
    paths = {
        name
        for suite in Path("harness/suites").glob("*/*.yaml")
        for name in re.findall(r"\w+(?:/\w+)+\.py", suite.read_text(encoding="utf-8"))
    }
    assert paths
    assert all(Path(path).is_file() for path in paths), paths


@pytest.mark.parametrize("name", ["cdsr-steps", "amazon-steps"])
def test_experiments_on_trainings_of_retired_suites_are_retired(name: str) -> None:
    assert load_suite(f"leaderboards/experiments/{name}.yaml").retired == load_suite("cdsr/v1").retired


@pytest.mark.parametrize(
    "name",
    [
        "cdsr",
        "cdsr-amazon/v1",
        "cdsr-amazon",
        "cdsr-amazon-dense",
        "cdsr-cross-platform/v1",
        "cdsr-cross-platform",
        "cdsr-llm",
        "cdsr-planted",
    ],
)
def test_data_and_candidates_are_pinned(name: str) -> None:
    suite = load_suite(name)
    assert all(spec.fingerprint for spec in suite.domains)
    sampled = {name for name in suite.candidates if name.startswith("sampled-")}
    assert all({kind for kind, _ in scenario.pins} == sampled for scenario in suite.scenarios)


@pytest.mark.parametrize(
    ("version", "names", "splits"),
    [
        (1, ["beauty", "sports", "toys"], ["leave-one-out"]),
        (2, ["beauty", "toys", "clothing"], ["leave-one-out", "temporal"]),
    ],
)
def test_amazon_suites_have_every_pair_and_every_triple(version: int, names: list[str], splits: list[str]) -> None:
    scenarios = [(s.split, s.target, frozenset(s.sources)) for s in load_suite(f"cdsr-amazon/v{version}").scenarios]
    pairs = {(split, t, frozenset([s])) for split in splits for t in names for s in names if s != t}
    assert set(scenarios) == pairs | {(split, t, frozenset(names) - {t}) for split in splits for t in names}
    assert len(scenarios) == len(set(scenarios)) == 9 * len(splits)


@pytest.mark.parametrize("version", [1, 2])
def test_cross_platform_suites_have_every_scenario_with_both_splits(version: int) -> None:
    scenarios = load_suite(f"cdsr-cross-platform/v{version}").scenarios
    by_split = {
        split: {(s.target, s.sources) for s in scenarios if s.split == split} for split in ("leave-one-out", "temporal")
    }
    assert by_split["leave-one-out"] == by_split["temporal"]
    assert {("steam", ("games",)), ("games", ("steam",)), ("games", ("movies",))} <= by_split["temporal"]


def test_all_keys_but_title_methods_and_seeds_change_the_digest(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    raw["suite"] = "mine"

    def digest_of(**changes: object) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | changes))
        return suite_digest(load_suite(str(path)))

    original = digest_of()
    assert digest_of(title="another", methods=["popularity"], seeds=[7]) == original
    for change in (
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
        assert digest_of(**change) != original, change


def test_ties_are_hashed_by_default(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())

    def load(**options: object) -> Suite:
        domains = [{k: v for k, v in d.items() if k != "ties"} | options for d in raw["domains"]]
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", "domains": domains}))
        return load_suite(str(path))

    assert load() == load(ties="hashed", tie_seed=0)
    assert suite_digest(load()) == suite_digest(load(ties="hashed"))
    assert len({suite_digest(load(**o)) for o in ({"ties": "hashed"}, {"tie_seed": 1}, {"ties": "file"})}) == 3
    for options, message in (
        ({"ties": "file", "tie_seed": 1}, "tie_seed is for ties: hashed"),
        ({"ties": "row"}, "'hashed' or 'file'"),
        ({"tie_seed": -1}, "tie_seed"),
    ):
        with pytest.raises(HarnessError, match=message):
            load(**options)


def test_ties_do_not_affect_domains_without_timestamps(tmp_path: Path) -> None:
    raw = yaml.safe_load(Path("harness/suites/cdsr-amazon/v1.yaml").read_text())
    digests = set()
    for ties in ("hashed", "file"):
        path = tmp_path / "mine.yaml"
        domains = [d | {"ties": ties} for d in raw["domains"]]
        path.write_text(yaml.safe_dump(raw | {"suite": "mine", "domains": domains}))
        digests.add(suite_digest(load_suite(str(path))))
    assert len(digests) == 1


def test_a_name_without_version_loads_the_newest() -> None:
    assert load_suite("cdsr/v2") == load_suite("cdsr")
    with pytest.raises(HarnessError, match="Unknown version of suite cdsr 'v9'"):
        load_suite("cdsr/v9")


def test_a_suite_file_needs_no_code(tmp_path: Path) -> None:
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
    # Conditions of results do not depend on local folders.
    fingerprints = {"shop": "1" * 64, "games": "2" * 64}
    assert str(tmp_path) not in str(suite.conditions(suite.scenarios[0], fingerprints))


def write_suite(tmp_path: Path, settings: object) -> Path:
    raw = yaml.safe_load(Path("harness/suites/cdsr/v1.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw | {"suite": "mine", "settings": settings}))
    return path


def test_methods_take_the_suite_s_settings(tmp_path: Path) -> None:
    plain, changed = (load_suite(str(write_suite(tmp_path, s))) for s in ({}, {"markov": {"prior": 7.0}}))
    assert suite_method(changed, "markov").settings.prior == 7.0
    assert suite_method(plain, "markov").settings.prior != 7.0
    authors = suite_method(load_suite("paper"), "ranker.weaverec").settings
    assert authors.backbone == "Qwen/Qwen2-7B-Instruct"
    assert (authors.rank, authors.alpha, authors.learning_rate, authors.epochs) == (16, 32, 2e-4, 2)
    assert (authors.prompt.candidates, authors.prompt.answers, authors.prompt.max_tokens) == (30, 5, 1200)


@pytest.mark.parametrize("settings", [{"markov": {"pror": 7.0}}, {"popularity": {"x": 1}}])
def test_unknown_settings_are_refused(tmp_path: Path, settings: object) -> None:
    with pytest.raises(
        HarnessError, match=r"mine\.yaml: settings\.(markov\.pror: there is no such|popularity: the method takes no)"
    ):
        suite_method(load_suite(str(write_suite(tmp_path, settings))), next(iter(settings)))
