"""What is written about the order of ties is what results and data give."""

import os
import re
from pathlib import Path

import pytest

from harness.data.domain_store import prepare_domain
from harness.datasets import load_dataset
from harness.report.ties import tie_table
from harness.storage.store import Store
from scripts.order_of_ties import order_of_ties

ROOT = Path(__file__).parents[1]
AUDIT = (ROOT / "docs" / "order-of-ties.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["leaderboards/README.md", "leaderboards/experiments/README.md"])
def test_the_table_is_that_of_the_experiment(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"<!-- order of ties -->\n{order_of_ties()}\n<!-- end -->" in text


@pytest.mark.data
@pytest.mark.skipif("CDSR_DATA" not in os.environ, reason="CDSR_DATA names no folder of data sets")
@pytest.mark.parametrize("name", re.findall(r"^\| ([a-z0-9-]+) +\|.*%", AUDIT, re.MULTILINE))
def test_the_audit_is_that_of_the_prepared_domain(name: str, tmp_path: Path) -> None:
    source = load_dataset(name).source
    audit = prepare_domain(Store(tmp_path), source, name, 5, Path(os.environ["CDSR_DATA"])).preparation.ties
    cells = {cell.strip() for cell in re.split(r"[|\n]", tie_table({name: audit}))}
    (row,) = re.findall(rf"^\| {name} +\|(.*)\|$", AUDIT, re.MULTILINE)
    assert {cell.strip() for cell in row.split("|")} <= cells
