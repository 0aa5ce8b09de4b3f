"""Marks, gains and intervals err on generated tables as rarely as the page says."""

import re

import numpy as np
import pytest

from scripts.null_calibration import (
    PAGE,
    TABLES,
    TRUE_MEAN,
    Rows,
    null_errors,
    over_scenarios,
    page,
    power_table,
    shift_for,
)

TEXT = PAGE.read_text(encoding="utf-8")


def shares(text: str) -> list[float]:
    return [float(share) for share in re.findall(r"([\d.]+)%", text)]


def test_generated_values_have_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    rows = Rows.draw(rng, 6)
    values, trained = rows.values(rng, 3, 100_000, shift_for(0.01))
    assert values.mean(axis=2) == pytest.approx(trained, abs=0.004)
    trained = np.mean([rows.values(rng, 400, 2, shift_for(0.01))[1].mean() for _ in range(5)])
    assert trained == pytest.approx(TRUE_MEAN + 0.01, abs=5e-4)


@pytest.mark.parametrize(("n_rows", "n_seeds"), [(5, 3), (12, 5)])
def test_tables_of_equal_rows(n_rows: int, n_seeds: int) -> None:
    errors = null_errors(n_rows, n_seeds, 100)
    assert np.mean(errors.false_marks) <= np.mean(errors.any_pair) <= 0.1
    assert np.mean(errors.before) > 0.1
    assert np.mean(errors.any_gain) <= 0.1
    assert 0.91 <= np.mean(errors.rows) <= 0.985
    assert 0.91 <= np.mean(errors.gains) <= 0.985


def test_one_method_against_itself() -> None:
    assert np.mean(null_errors(2, 3, 100, twice=True).any_pair) <= 0.1


def test_tables_over_scenarios() -> None:
    coverage, ranks_hold = over_scenarios(0.0, 50)
    assert 0.91 <= coverage <= 0.985
    assert ranks_hold >= 0.88


def test_a_large_difference_is_found() -> None:
    last = power_table(10).split("\n")[-1]
    assert min(int(share) for share in re.findall(r"(\d+)%", last)) > 90


def test_the_page_keeps_what_the_protocol_promises() -> None:
    assert f"{TABLES:,} generated tables" in TEXT
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in TEXT.split("\n") if re.match(r"\| +\d", row)]
    for cells in (row for row in rows if len(row) == 8):
        if cells[1] != "1":
            assert max(shares(cells[2])) <= 5
        assert all(93 <= shares(cell)[0] <= 97 for cell in cells[6:])
    prose = " ".join(TEXT.split())
    for sentence, least, most in (
        (r"told apart in ([\d.]+)% of 5,000 tables with three seeds each, and in ([\d.]+)% with five", 0, 5),
        (r"([\d.]+)% of the intervals of mean gains", 93, 97),
        (r"hold the true ranks in ([\d.]+)% .* ordered wrongly in ([\d.]+)%", 95, 100),
    ):
        found = re.search(sentence, prose)
        assert found is not None, sentence
        assert all(least <= float(share) <= most for share in found.groups()), sentence


@pytest.mark.slow
def test_the_page_is_what_the_script_gives() -> None:
    assert page() == TEXT
