import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.domain_store import load_domain, prepare_domain
from harness.data.prepare import prepare
from harness.data.records import no_read_progress
from harness.data.sources import make_source
from harness.errors import HarnessError
from harness.storage.store import Store
from tests.conftest import Toy, toy_raw


def test_round_trip(tmp_path: Path) -> None:
    domain = prepare(toy_raw("left"), 1)
    store = Store(tmp_path / "domains")
    prepared = prepare_domain(store, Toy(seed=0), "left", 1, tmp_path)
    assert prepared.fresh
    # Computed in memory and from the files, in two ways.
    assert prepared.preparation.fingerprint == domain.fingerprint
    loaded = load_domain(store, domain.fingerprint, "left")
    assert (loaded.catalogue, loaded.user_ids) == (domain.catalogue, domain.user_ids)
    assert loaded.interactions.items.tolist() == domain.interactions.items.tolist()
    assert not list((tmp_path / "domains").glob(".*"))


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(words, words, st.integers(0, 10**9)), min_size=1, max_size=30), st.data())
def test_any_text_round_trips(tmp_path_factory: pytest.TempPathFactory, events, data) -> None:
    folder = tmp_path_factory.mktemp("round")
    texts = {item: data.draw(words) for _, item, _ in events}
    rows = [{"u": u, "i": i, "t": t} for u, i, t in events]
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), folder / "events.parquet")
    pq.write_table(pa.table({"i": list(texts), "x": list(texts.values())}), folder / "items.parquet")
    options = {
        "source": "table",
        "interactions": "events.parquet",
        "items": "items.parquet",
        "columns": {"user": "u", "item": "i", "timestamp": "t"},
        "item_columns": {"item": "i", "text": ["x"]},
    }
    store = Store(folder / "domains")
    made = prepare_domain(store, make_source(options), "any", 1, folder).preparation
    domain = load_domain(store, made.fingerprint, "any")
    assert set(domain.user_ids) == {u for u, _, _ in events}
    assert set(domain.catalogue.item_ids) == {i for _, i, _ in events}
    assert dict(zip(domain.catalogue.item_ids, domain.catalogue.texts, strict=True)) == {
        item: " ".join(text.split()) for item, text in texts.items()
    }
    assert made.fingerprint == domain.fingerprint


def test_prepared_once_until_a_file_changes(tmp_path: Path) -> None:
    events, items = tmp_path / "e.csv", tmp_path / "i.csv"
    events.write_text("user_id,item_id,timestamp\na,x,1\nb,x,2\n")
    items.write_text("item_id,title\nx,one\n")
    source = make_source({"source": "table", "interactions": "e.csv", "items": "i.csv"})
    store = Store(tmp_path / "domains")
    first = prepare_domain(store, source, "d", 1, tmp_path)
    second = prepare_domain(store, source, "d", 1, tmp_path)
    assert (first.fresh, second.fresh) == (True, False)
    assert first.preparation == second.preparation
    items.write_text("item_id,title\nx,another\n")
    third = prepare_domain(store, source, "d", 1, tmp_path)
    assert third.fresh
    assert third.preparation.fingerprint != first.preparation.fingerprint


def test_two_at_once_prepare_once_and_one_says_that_it_waits(tmp_path: Path) -> None:
    lines: list[str] = []
    store, opened = Store(tmp_path / "domains", lines.append), threading.Event()

    class Slow(Toy):
        def open(self, name, folder, report=no_read_progress):
            opened.set()
            time.sleep(0.5)
            return super().open(name, folder, report)

    def work() -> bool:
        return prepare_domain(store, Slow(seed=0), "left", 1, tmp_path).fresh

    with ThreadPoolExecutor() as pool:
        first = pool.submit(work)
        opened.wait()
        second = pool.submit(work)
        assert (first.result(), second.result()) == (True, False)
    assert lines == [f"Waiting for process {os.getpid()}, which is preparing left."]
    assert not list((tmp_path / "domains" / "locks").iterdir())


def test_a_changed_record_of_a_preparation_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    preparation = prepare_domain(store, Toy(seed=0), "left", 1, tmp_path).preparation
    (record,) = (tmp_path / "preparation").iterdir()
    manifest = record / "manifest.json"
    changed = manifest.read_text().replace(f'"read":{preparation.read}', '"read":7')
    assert changed != manifest.read_text()
    manifest.write_text(changed)
    again = prepare_domain(store, Toy(seed=0), "left", 1, tmp_path)
    assert (again.fresh, again.preparation) == (True, preparation)
    assert not prepare_domain(store, Toy(seed=0), "left", 1, tmp_path).fresh


@pytest.mark.parametrize("file", ["interactions.parquet", "catalogue.parquet", "users.parquet", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_damage_is_named_and_never_loaded(tmp_path: Path, file: str, damage: str) -> None:
    store = Store(tmp_path)
    fingerprint = prepare_domain(store, Toy(seed=0), "left", 1, tmp_path).preparation.fingerprint
    other = prepare_domain(store, Toy(seed=5, n_users=29), "right", 3, tmp_path).preparation.fingerprint
    path = tmp_path / "domain" / fingerprint / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: 50 if file.endswith("parquet") else 5])
    elif damage == "gone":
        path.unlink()
    elif file == "manifest.json":
        path.write_text('{"timed": false}')
    else:
        path.write_bytes((tmp_path / "domain" / other / file).read_bytes())
    with pytest.raises(HarnessError, match="Delete that folder"):
        load_domain(store, fingerprint, "left")
