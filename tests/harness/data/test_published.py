"""Prepared data sets have the published sizes."""

import json
import os
from pathlib import Path

import pytest

from harness.data.domain_store import load_domain, prepare_domain
from harness.datasets import load_dataset
from harness.storage.store import Store

DATA = Path(os.environ.get("CDSR_DATA", "data"))

#: Users, items and interactions of the 5-core, as published.
PUBLISHED = {
    "amazon2014-beauty": (22_363, 12_101, 198_502),
    "amazon2014-sports": (35_598, 18_357, 296_337),
    "amazon2014-toys": (19_412, 11_924, 167_597),
    "amazon2014-clothing": (39_230, 22_948, 277_534),
    "amazon2018-game": (50_597, 16_874, 453_637),
    "steam": (10_369, 3_593, 126_824),
    "movielens-1m": (6_040, 3_416, 999_611),
}


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_the_published_ones(name: str, tmp_path: Path) -> None:
    dataset = load_dataset(name)
    if not all(path.is_file() for path in dataset.source.files(DATA)):
        pytest.skip(f"{name} is not in {DATA}; set CDSR_DATA to the folder of the data sets")
    preparation = prepare_domain(Store(tmp_path), dataset.source, name, 5, DATA).preparation
    assert (preparation.users, preparation.items, preparation.interactions) == PUBLISHED[name]
    assert (preparation.dropped, preparation.duplicates) == ({}, 0)


@pytest.mark.data
def test_the_split_of_the_files_is_leave_one_out(tmp_path: Path) -> None:
    from harness.protocol.split import LeaveOneOut

    dataset = load_dataset("amazon2014-beauty")
    if not all(path.is_file() for path in dataset.source.files(DATA)):
        pytest.skip(f"amazon2014-beauty is not in {DATA}; set CDSR_DATA to the folder of the data sets")
    store = Store(tmp_path)
    domain = load_domain(
        store, prepare_domain(store, dataset.source, "beauty", 5, DATA).preparation.fingerprint, "beauty"
    )
    training, test = LeaveOneOut().training(domain), LeaveOneOut().test(domain)
    files = {p.stem: json.loads(p.read_bytes()) for p in dataset.source.files(DATA)}
    item = {index: name for name, index in files["smap"].items()}
    for user, original in enumerate(domain.user_ids):
        key = str(files["umap"][original])
        for part, items in (
            ("train", training.train[user]),
            ("val", [training.validation.targets[user]]),
            ("test", [test.targets[user]]),
        ):
            assert [domain.catalogue.item_ids[i] for i in items] == [item[i] for i in files[part][key]]
