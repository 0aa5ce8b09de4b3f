"""Single users of a comparison: who is chosen, what is shown of them, and what is said to be missing."""

from pathlib import Path

import numpy as np
import pytest

from harness.protocol.ranks import MISSED
from harness.report.examples import Texts, choose_users, make_examples
from harness.report.examples_text import example_json, examples_text
from harness.report.pair import PairComparison, compare_pair
from harness.report.sides import find_sides
from tests.harness.report.made_results import ITEMS, write_made

#: Items above the held-out one, by user.
A = np.array([0, 9, 2, 30, 49, 5, 0, MISSED])
B = np.array([9, 0, 2, 40, 45, 0, 1, 31])


def compared(results: Path, with_lists: bool = True, scenarios: int = 1) -> PairComparison:
    lists = [np.roll(np.arange(50), -shift)[:20] for shift in range(8)] if with_lists else None
    for scenario in (("drama", "action"), ("drama", "comedy"))[:scenarios]:
        for seed in (3, 4):
            write_made(results, "a", seed, {"full": A}, scenario=scenario, lists=lists)
            write_made(results, "b", seed, {"full": B}, scenario=scenario, lists=lists)
    return compare_pair(find_sides("a", "b", results, "made"))


def test_those_with_the_largest_differences_and_the_worst_ranks_are_chosen(tmp_path: Path) -> None:
    pair = compared(tmp_path)
    gain = np.where(A < 10, 1 / np.log2(A + 2.0), 0) - np.where(B < 10, 1 / np.log2(B + 2.0), 0)
    by_kind = {
        kind: [each for each in choose_users(pair, 2) if each.kind == kind] for kind in ("won", "lost", "hardest")
    }
    assert [each.row for each in by_kind["won"]] == np.argsort(-gain)[:2].tolist() == [0, 6]
    assert [each.row for each in by_kind["lost"]] == np.argsort(gain)[:2].tolist() == [1, 5]
    assert [each.row for each in by_kind["hardest"]] == np.argsort(-np.minimum(A, B))[:2].tolist() == [4, 7]
    assert by_kind["won"][0].difference == pytest.approx(gain[0])
    # Only two users are won and two lost, however many are asked for.
    assert [each.kind for each in choose_users(pair, 9)] == ["won"] * 2 + ["lost"] * 2 + ["hardest"] * 8


def test_a_user_with_one_held_out_item_in_two_scenarios_is_shown_once(tmp_path: Path) -> None:
    chosen = choose_users(compared(tmp_path, scenarios=2), 9)
    assert [each.kind for each in chosen] == ["won"] * 2 + ["lost"] * 2 + ["hardest"] * 8


def test_history_titles_lists_and_ranks_are_shown(tmp_path: Path) -> None:
    pair = compared(tmp_path)
    texts = Texts({item: f"Title [{item}]" for item in ITEMS}, {f"u{user}": ITEMS[20:33] for user in range(8)})
    examples, missing = make_examples(pair, choose_users(pair, 1), {"drama-from-action": texts})
    assert missing == []
    won = examples[0]
    assert (won.user, won.held_out, won.history, won.history_length) == ("u0", "i0", ITEMS[23:33], 13)
    assert won.seeds == ((3, 4), (3, 4))
    assert won.ranks == (("1", "1"), ("10", "10"))
    assert won.lists == (ITEMS[:10], ITEMS[:10])
    assert examples[2].ranks == (("50", "50"), ("46", "46"))
    text = examples_text(pair, examples, missing)
    assert "User u0, difference +0.7109. Held out: **Title \\[i0\\]**." in text
    assert "History (10 of 13): Title \\[i23\\]; " in text
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("   |")]
    assert rows[2] == ["rank", "1, 1", "10, 10"]
    assert rows[3] == ["1", "**Title \\[i0\\]**", "**Title \\[i0\\]**"]
    assert rows[12] == ["10", "Title \\[i9\\]", "Title \\[i9\\]"]
    assert example_json(won)["held_out_title"] == "Title [i0]"


def test_missing_lists_and_texts_are_said_in_a_line_and_ids_are_shown(tmp_path: Path) -> None:
    pair = compared(tmp_path, with_lists=False)
    examples, missing = make_examples(pair, choose_users(pair, 2), {})
    command = "harness run --suite made/v1 --method a --method b"
    assert missing == [f"No lists of a and b: the runs kept none. Run: {command}."]
    text = examples_text(pair, examples, missing)
    assert all(f"- {line}" in text for line in missing)
    assert "Held out: **i0**." in text
    assert "Rank: a 1, 1; b 10, 10." in text


def test_a_file_of_lists_that_is_gone_is_named(tmp_path: Path) -> None:
    pair = compared(tmp_path)
    path = pair.sides.b.entries["drama-from-action"].paths[0].with_suffix(".lists.parquet")
    path.unlink()
    examples, missing = make_examples(pair, choose_users(pair, 1), {})
    assert len(missing) == 1
    assert missing[0].startswith(f"No lists of b: No file of recommendation lists {path}")
    assert (examples[0].lists[0], examples[0].lists[1]) == (ITEMS[:10], None)


def test_a_held_out_item_that_was_never_ranked_has_no_rank(tmp_path: Path) -> None:
    pair = compared(tmp_path)
    examples, _ = make_examples(pair, [each for each in choose_users(pair, 9) if each.row == 7], {})
    assert examples[0].ranks == (("none", "none"), ("32", "32"))
