"""Comparisons of two methods against numpy and scipy on the same ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from harness.errors import HarnessError
from harness.report.pair import PairComparison, compare_pair
from harness.report.pair_text import pair_json, pair_text, plot_pair
from harness.report.sides import find_sides
from tests.harness.report.made_results import write_made

ROOT = Path(__file__).parents[3]
SCENARIOS = (("drama", "action"), ("action", "drama"))
USERS = (tuple(f"u{index}" for index in range(60)), tuple(f"u{index}" for index in range(20, 90)))


def made(results: Path, seeds: dict[str, tuple[int, ...]], deterministic: bool = False) -> dict[str, Any]:
    """Ranks of methods on two scenarios that share 40 users, by (scenario, method, seed); `good` is twice as good."""
    written = {}
    for number, (scenario, users) in enumerate(zip(SCENARIOS, USERS, strict=True)):
        for method, own in seeds.items():
            for seed in own:
                key = [number, len(method), 0 if deterministic else seed + 1]
                ranks = np.random.default_rng(key).integers(0, 40, len(users))
                above = {"full": ranks // 2 if method == "good" else ranks, "sampled-30": ranks // 3}
                write_made(results, method, seed, above, scenario=scenario, users=users)
                written["-from-".join(scenario), method, seed] = above["full"]
    return written


def ndcg10(above: Any) -> Any:
    return np.where(above < 10, 1 / np.log2(above + 2.0), 0.0)


def compared(results: Path, a: str = "good", b: str = "plain", **options: Any) -> PairComparison:
    return compare_pair(find_sides(a, b, results, "made"), **options)


def test_means_and_shares_are_those_of_the_ranks(tmp_path: Path) -> None:
    written = made(tmp_path, {"good": (0, 1, 2), "plain": (0, 1, 2, 5), "third": (0, 1, 2)})
    pair = compared(tmp_path)
    means, shares = [], []
    for row in pair.by_scenario:
        a, b = (
            np.array([ndcg10(written[row.scenario, method, seed]) for seed in (0, 1, 2)])
            for method in ("good", "plain")
        )
        gain = a.mean(axis=0) - b.mean(axis=0)
        assert (row.seeds, row.users) == (3, a.shape[1])
        assert (row.a, row.b) == pytest.approx((a.mean(), b.mean()), abs=1e-12)
        assert row.figure.mean == pytest.approx(gain.mean(), abs=1e-12)
        assert row.won == pytest.approx((gain > 1e-12).mean())
        assert row.lost == pytest.approx((gain < -1e-12).mean())
        assert row.won + row.lost + row.level == pytest.approx(1)
        means.append(gain.mean())
        shares.append((gain > 1e-12).mean())
    assert pair.mean is not None
    assert pair.mean.figure.mean == pytest.approx(np.mean(means), abs=1e-12)
    assert (pair.mean.won, pair.mean.users) == (pytest.approx(np.mean(shares)), 90)
    tail = next(row for row in pair.by_slice if (row.candidates, row.slice) == ("full", "tail_items"))
    odd = [
        np.mean([ndcg10(written[s, "good", seed])[1::2] - ndcg10(written[s, "plain", seed])[1::2] for seed in range(3)])
        for s in ("drama-from-action", "action-from-drama")
    ]
    assert tail.figure.mean == pytest.approx(np.mean(odd), abs=1e-12)
    assert pair_text(pair).endswith("\n- Slices without users on some scenario: cold_items.")


def test_interval_and_p_value_of_methods_without_a_random_part_are_those_of_scipy(tmp_path: Path) -> None:
    written = made(tmp_path, {"good": (0, 1), "plain": (0, 1)}, deterministic=True)
    pair = compared(tmp_path)
    for row in pair.by_scenario:
        a, b = (ndcg10(written[row.scenario, method, 0]) for method in ("good", "plain"))
        interval = stats.ttest_rel(a, b).confidence_interval()
        assert row.figure.mean - row.figure.half_width == pytest.approx(interval.low, abs=1e-9)
        assert row.figure.mean + row.figure.half_width == pytest.approx(interval.high, abs=1e-9)
        flipped = stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True,
            n_resamples=9999, rng=np.random.default_rng(5),
        ).pvalue  # fmt: skip
        assert row.p_value == pytest.approx(flipped, abs=0.015)
    low, high = sorted(row.p_value or 0 for row in pair.by_scenario)
    assert sorted(row.corrected or 0 for row in pair.by_scenario) == pytest.approx(
        [min(1, 2 * low), max(min(1, 2 * low), high)]  # Holm's method of two tests
    )
    assert pair.mean is not None
    assert pair.mean.corrected == pair.mean.p_value


def test_one_seed_has_an_interval_over_users_and_no_p_value(tmp_path: Path) -> None:
    written = made(tmp_path, {"good": (0, 1), "plain": (1, 2)})
    for pair, seeds in ((compared(tmp_path), (1, 1)), (compared(tmp_path, "good@0", "plain@2"), (0, 2))):
        for row in pair.by_scenario:
            a, b = (
                ndcg10(written[row.scenario, method, seed])
                for method, seed in zip(("good", "plain"), seeds, strict=True)
            )
            interval = stats.ttest_rel(a, b).confidence_interval()
            assert row.figure.mean + row.figure.half_width == pytest.approx(interval.high, abs=1e-9)
            assert (row.p_value, row.corrected, row.seeds) == (None, None, 1)
        text = pair_text(pair)
        assert "± is over users only and there is no p-value" in text
        assert "| p |" not in text.replace(" ", "")
        assert "nothing is tested" in text
    assert "One training of each is compared" in text


def test_figures_of_a_committed_board_are_those_of_its_table_of_gains() -> None:
    results, scenario = ROOT / "leaderboards" / "results", "drama-from-action"
    pair = compare_pair(find_sides("joint", "target-only", results, "cdsr/v2", [scenario]))
    folder = results / "cdsr" / "v2" / scenario
    values = []
    for method in ("joint", "target-only"):
        seeds = range(len(list(folder.glob(f"{method}-seed?.json"))))
        tables = [pq.read_table(folder / f"{method}-seed{seed}.parquet").to_pydict() for seed in seeds]
        gains = np.concatenate([[0], np.cumsum(np.where(np.arange(400) < 10, 1 / np.log2(np.arange(400) + 2), 0))])
        above, tied = (np.array([table[f"full/{part}"] for table in tables]) for part in ("above", "tied"))
        last = np.minimum(above + tied + 1, 400)
        values.append((gains[last] - gains[np.minimum(above, 400)]) / (tied + 1))
    assert pair.main.figure.mean == pytest.approx(values[0].mean() - values[1].mean(), abs=1e-12)
    board = (ROOT / "leaderboards" / "cdsr-v2.md").read_text(encoding="utf-8")
    section = board.partition(f"### Transfer: {scenario}, NDCG@10, all users\n")[2]
    rows = section.partition("\n#")[0].splitlines()
    (row,) = [line for line in rows if line.startswith("| joint ") and "target-only" in line]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[3].strip("*") == f"{pair.main.figure.mean:+.4f} ± {pair.main.figure.half_width:.4f}"
    assert cells[5:7] == [f"{pair.main.won:.1%}", f"{pair.main.lost:.1%}"]


def test_two_files_of_other_suites_are_compared_whatever_the_order_of_their_users(tmp_path: Path) -> None:
    above, users = np.arange(30), tuple(f"u{index}" for index in range(30))
    a = write_made(tmp_path, "one", 0, {"full": above}, users=users)
    b = write_made(
        tmp_path, "one", 0, {"full": above[::-1] // 2}, users=users[::-1], suite="other",
        changes={"budget": {"trials": 1, "epochs": 3, "patience": 5}},
    )  # fmt: skip
    pair = compare_pair(find_sides(str(a), str(b), tmp_path))
    gains = ndcg10(above) - ndcg10(above // 2)
    assert pair.main.figure.mean == pytest.approx(gains.mean(), abs=1e-12)
    assert (pair.main.won, pair.main.lost) == (0, pytest.approx((gains < 0).mean()))
    assert pair.sides.a.label == "one@0 of made/v1"
    assert any("different budget: epochs: 100 instead of 3" in note for note in pair.notes)
    assert pair.mean is None


def test_results_of_different_users_or_items_are_refused(tmp_path: Path) -> None:
    above = {"full": np.arange(5)}
    a = write_made(tmp_path, "one", 0, above, users=("u1", "u2", "u3", "u4", "u5"))
    b = write_made(tmp_path, "one", 0, above, users=("u1", "u2", "u3", "u4", "u6"), suite="other")
    with pytest.raises(HarnessError, match=r"different users \(5 and 5, 4 of them the same\)"):
        find_sides(str(a), str(b), tmp_path)
    b = write_made(
        tmp_path, "one", 0, above, users=("u5", "u2", "u3", "u4", "u1"), items=("i5", "i2", "i9", "i4", "i1"),
        suite="other",
    )  # fmt: skip
    with pytest.raises(HarnessError, match="different held-out items for 1 of 5 users"):
        find_sides(str(a), str(b), tmp_path)


def test_a_file_is_compared_with_a_training_of_its_suite(tmp_path: Path) -> None:
    written = made(tmp_path, {"good": (0, 1), "plain": (0, 1)})
    path = str(tmp_path / "made" / "v1" / "drama-from-action" / "good-seed0.json")
    main = compare_pair(find_sides(path, "plain@1", tmp_path)).main
    gains = ndcg10(written["drama-from-action", "good", 0]) - ndcg10(written["drama-from-action", "plain", 1])
    assert (main.scenario, main.seeds) == ("drama-from-action", 1)
    assert main.figure.mean == pytest.approx(gains.mean(), abs=1e-12)
    with pytest.raises(HarnessError, match=r"Name a seed of both, as in plain@0"):
        find_sides(path, "plain", tmp_path)


def test_json_holds_the_rows_of_the_tables(tmp_path: Path) -> None:
    made(tmp_path, {"good": (0, 1), "plain": (0, 1)})
    pair = compared(tmp_path, candidates="sampled-30", metric="hr@1")
    content = pair_json(pair)
    assert (content["metric"], content["candidates"]) == ("hr@1", "sampled-30")
    assert [row["scenario"] for row in content["by_scenario"]] == ["action-from-drama", "drama-from-action"]
    assert content["mean"]["difference"] == pytest.approx(
        np.mean([row["a"] - row["b"] for row in content["by_scenario"]])
    )
    text = pair_text(pair)
    assert all(f"{row['difference']:+.4f} ± {row['half_width']:.4f}" in text for row in content["by_slice"])


@pytest.mark.parametrize(("suffix", "start"), [(".svg", b"<?xml"), (".png", b"\x89PNG")])
def test_plots_are_drawn_and_repeat(tmp_path: Path, suffix: str, start: bytes) -> None:
    made(tmp_path / "results", {"good": (0, 1), "plain": (0, 1)})
    pair = compared(tmp_path / "results")
    paths = [tmp_path / f"{name}{suffix}" for name in ("first", "second")]
    for path in paths:
        plot_pair(pair, path)
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of four methods: `lonely` shares no seed with others, and `half` lacks a scenario and a candidate set."""
    folder = tmp_path_factory.mktemp("results")
    made(folder, {"good": (0, 1), "plain": (0, 1), "lonely": (4,)})
    write_made(folder, "half", 0, {"full": np.arange(60) % 50}, users=USERS[0], absent=("sampled-30",))
    return folder


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ("godo", "plain", {}, "Unknown method with results of made/v1 'godo'. Did you mean 'good'"),
        ("good", "good", {}, "Both sides are good"),
        ("good@0", "plain", {}, "Name a seed of both, as in plain@0"),
        ("good@7", "plain@0", {}, "good has no result with seed 7. Seeds: 0, 1."),
        ("good@x", "plain@0", {}, "'good@x' has no number after the @"),
        ("good", "lonely", {}, "have no seed in common"),
        ("good", "half", {"scenarios": ["action-from-drama"]}, "half has no result on action-from-drama"),
        ("good", "plain", {"scenarios": ["drama-from-acton"]}, "Did you mean 'drama-from-action'"),
        ("good", "plain", {"suite": "maed"}, "Unknown suite with results 'maed'. Did you mean 'made'"),
        ("good", "plain", {"suite": "made/v2"}, "Unknown version with results of suite made 'v2'"),
        ("good", "plain", {"suite": None}, "No suite is named. Add --suite made"),
        ("no.json", "plain@0", {}, "No result file no.json"),
        ("good-seed0.parquet", "plain@0", {}, "is not a result file. Name good-seed0.json"),
        ("good", "plain", {"candidates": "sampled-3"}, "Unknown candidates 'sampled-3'. Did you mean 'sampled-30'"),
        ("good", "half", {"candidates": "sampled-30"}, "Not both sides are ranked among sampled-30"),
        ("good", "plain", {"metric": "ndgc@10"}, "Unknown metric 'ndgc'. Did you mean 'ndcg'"),
        ("good", "plain", {"metric": "ndcg"}, "has no cutoff"),
        ("good", "plain", {"metric": "coverage@10"}, "no value for each held-out item"),
    ],
)
def test_what_is_not_known_is_an_error_with_near_names(
    results: Path, a: str, b: str, options: dict[str, Any], message: str
) -> None:
    asked = {"suite": "made", "scenarios": (), **options}
    with pytest.raises(HarnessError) as error:
        compare_pair(
            find_sides(a, b, results, asked["suite"], asked["scenarios"]),
            **{name: value for name, value in options.items() if name in ("candidates", "metric")},
        )
    assert message in str(error.value)


def test_a_scenario_with_one_side_only_is_named_and_left_out(tmp_path: Path) -> None:
    made(tmp_path, {"good": (0, 1), "plain": (0, 1)})
    for seed in (0, 1):
        for file in (tmp_path / "made" / "v1" / "action-from-drama").glob(f"plain-seed{seed}*"):
            file.unlink()
    pair = compared(tmp_path)
    assert [row.scenario for row in pair.by_scenario] == ["drama-from-action"]
    assert pair.mean is None
    assert "- Not compared, as a side has no result: action-from-drama." in pair_text(pair)
