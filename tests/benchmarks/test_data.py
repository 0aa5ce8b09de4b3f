"""Preparing and loading data, as pairs in one run. Run with: make bench, with CDSR_DATA set."""

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
@pytest.mark.parametrize("what", ["only parse the JSON", "prepare", "load what was prepared"])
def test_amazon_beauty(benchmark, beauty, tmp_path: Path, what: str) -> None:
    """Preparing from the files (10 s at most are asked for) and loading (0.3 s), against parsing the files alone."""
    made = prepare_domain(Store(tmp_path / "known"), beauty, "beauty", 5, DATA).preparation
    stores = iter(Store(tmp_path / str(number)) for number in range(99))
    tasks = {
        "only parse the JSON": lambda: [json.loads(path.read_bytes()) for path in beauty.files(DATA)],
        "prepare": lambda: next(stores).prepare(beauty, "beauty", 5, DATA),
        "load what was prepared": lambda: load_domain(Store(tmp_path / "known"), made.fingerprint, "beauty"),
    }
    benchmark.pedantic(tasks[what], rounds=5, warmup_rounds=1)
