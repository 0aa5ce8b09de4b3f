"""Time to prepare and load data, compared in one run. Run with: make bench, with CDSR_DATA set."""

import json
import os
from pathlib import Path

import pytest

from harness.data.domain_store import load_domain, prepare_domain
from harness.datasets import load_dataset
from harness.storage.store import Store

DATA = Path(os.environ.get("CDSR_DATA", "data"))


@pytest.fixture(scope="module")
def beauty():
    dataset = load_dataset("amazon2014-beauty")
    if not all(path.is_file() for path in dataset.source.files(DATA)):
        pytest.skip(f"amazon2014-beauty is not in {DATA}; set CDSR_DATA to the folder of the data sets")
    return dataset.source


@pytest.mark.data
@pytest.mark.benchmark(group="Amazon Beauty")
@pytest.mark.parametrize("task", ["parse the JSON only", "prepare", "load the prepared domain"])
def test_amazon_beauty(benchmark, beauty, tmp_path: Path, task: str) -> None:
    """Preparing from files (at most 10 s) and loading (at most 0.3 s), compared with parsing the files."""
    preparation = prepare_domain(Store(tmp_path / "known"), beauty, "beauty", 5, DATA).preparation
    stores = iter(Store(tmp_path / str(number)) for number in range(99))
    tasks = {
        "parse the JSON only": lambda: [json.loads(path.read_bytes()) for path in beauty.files(DATA)],
        "prepare": lambda: prepare_domain(next(stores), beauty, "beauty", 5, DATA),
        "load the prepared domain": lambda: load_domain(Store(tmp_path / "known"), preparation.fingerprint, "beauty"),
    }
    benchmark.pedantic(tasks[task], rounds=5, warmup_rounds=1)
