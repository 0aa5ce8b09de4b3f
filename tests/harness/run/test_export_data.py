"""Exported data: what a method may see, no test event, and hashes that hold."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.errors import HarnessError
from harness.protocol.overlap import user_ids_in_files
from harness.run.export_data import export_data
from harness.run.scenario_data import candidate_digests, open_test, open_training


@pytest.fixture
def scenario(toy):
    """The scenario, its workspace, training data and test events."""
    workspace, chosen = toy.workspace(), toy.suite.scenarios[0]
    return workspace, chosen, open_training(workspace, chosen), open_test(workspace, chosen)


def events_of(frame: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(frame["user_id"], frame["item_id"], strict=True))


def read_atomic(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, dtype=str)
    return frame.rename(columns=lambda name: name.partition(":")[0])


def test_no_test_event_of_any_domain_is_in_a_file(scenario, toy, tmp_path: Path) -> None:
    workspace, chosen, training, _ = scenario
    for form in ("plain", "recbole"):
        files = export_data(workspace, chosen, tmp_path / form, form)
        read = [pd.read_csv(path, dtype=str) for path in files if path.suffix == ".csv"]
        read += [read_atomic(path) for path in files if path.suffix == ".inter"]
        events = [frame for frame in read if "position" in frame]
        assert len(events) == 5  # train and validation of two domains, and the histories
        for domain in chosen.domains:
            # Timestamps of the toy domains are unique, so one names an event.
            held_out = toy.workspace().domain(domain).interactions
            last = held_out.offsets[1:] - 1
            times = {f"{time / 1e9:.9f}".rstrip("0").rstrip(".") for time in held_out.timestamps[last]}
            assert len(times) == len(last)
            for frame in events:
                assert not times & set(frame["timestamp"])
        test = open_test(workspace, chosen)
        ids = user_ids_in_files(training.target_domain, None)
        items = np.array(training.target_domain.catalogue.item_ids)
        pairs = set(zip([ids[user] for user in test.histories.users], items[test.targets], strict=True))
        assert len(pairs) == 30
        for frame in events:
            assert not pairs & events_of(frame)
        # Each is among the drawn candidates, where its place says nothing.
        (candidates,) = [frame for frame in read if set(frame) == {"user_id", "item_id"}]
        assert pairs <= events_of(candidates)
        assert candidates.groupby("user_id")["item_id"].apply(lambda ids: ids.is_monotonic_increasing).all()


def test_files_hold_the_training_data_and_histories_in_order(scenario, tmp_path: Path) -> None:
    workspace, chosen, training, test = scenario
    folder = tmp_path / "plain"
    export_data(workspace, chosen, folder)
    for name, domain in training.domains.items():
        catalogue = pd.read_csv(folder / f"{name}.items.csv")
        assert tuple(catalogue["item_id"]) == domain.catalogue.item_ids
        assert tuple(catalogue["text"]) == domain.catalogue.texts
        train = pd.read_csv(folder / f"{name}.train.csv")
        index = {item: i for i, item in enumerate(domain.catalogue.item_ids)}
        assert [index[item] for item in train["item_id"]] == domain.train.items.tolist()
        assert (train["timestamp"].diff()[train["position"] > 0] > 0).all()
        validation = pd.read_csv(folder / f"{name}.validation.csv")
        assert [index[item] for item in validation["item_id"]] == domain.validation.targets.tolist()
        assert validation["position"].tolist() == domain.train.lengths.tolist()
    histories = pd.read_csv(folder / "left.histories.csv")
    index = {item: i for i, item in enumerate(training.target_domain.catalogue.item_ids)}
    assert [index[item] for item in histories["item_id"]] == test.histories.sequences.items.tolist()
    assert pd.read_csv(folder / "test_users.csv")["user_id"].tolist() == list(dict.fromkeys(histories["user_id"]))


def test_recbole_files_hold_the_same(scenario, tmp_path: Path) -> None:
    workspace, chosen, *_ = scenario
    export_data(workspace, chosen, tmp_path / "plain")
    export_data(workspace, chosen, tmp_path / "recbole", "recbole")
    names = {"train": "train.inter", "validation": "valid.inter", "histories": "histories.inter", "items": "item"}
    for path in (tmp_path / "plain").glob("*.*.csv"):
        domain, kind, _ = path.name.split(".")
        if domain != "candidates":
            atomic = read_atomic(tmp_path / "recbole" / domain / f"{domain}.{names[kind]}")
            pd.testing.assert_frame_equal(atomic, pd.read_csv(path, dtype=str))
    header = (tmp_path / "recbole" / "left" / "left.train.inter").read_text().partition("\n")[0]
    assert header == "user_id:token\titem_id:token\tposition:float\ttimestamp:float"


def test_the_manifest_names_the_suite_and_the_hash_of_each_file(scenario, tmp_path: Path) -> None:
    workspace, chosen, training, _ = scenario
    *files, _, manifest_path = export_data(workspace, chosen, tmp_path / "plain")
    manifest = json.loads(manifest_path.read_text())
    assert (manifest["suite"], manifest["scenario"], manifest["candidate_seed"]) == ("toy/v1", chosen.name, 7)
    assert manifest["candidates_sha256"] == candidate_digests(workspace, chosen)
    assert manifest["fingerprints"] == {name: domain.fingerprint for name, domain in training.domains.items()}
    expected = {path.relative_to(tmp_path / "plain").as_posix(): path for path in files}
    assert manifest["files"] == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in expected.items()}
    assert {p.relative_to(tmp_path / "plain").as_posix() for p in (tmp_path / "plain").rglob("*.*")} == {
        *expected,
        "croissant.json",
        "manifest.json",
    }


def test_equal_user_ids_mean_one_person(toy, tmp_path: Path) -> None:
    """Both toy domains call their users u000, u001, ...; they are other persons unless the suite says so."""
    users = {}
    for space in (None, "shops"):
        domains = tuple(
            toy.replace(spec, source=spec.source.model_copy(update={"users": space})) for spec in toy.suite.domains
        )
        toy.suite = toy.replace(toy.suite, domains=domains)
        folder = tmp_path / str(space)
        export_data(toy.workspace(), toy.suite.scenarios[0], folder)
        users[space] = [set(pd.read_csv(folder / f"{name}.train.csv")["user_id"]) for name in ("left", "right")]
    assert "u000" in users[None][0]
    assert not users[None][0] & users[None][1]
    assert users["shops"][0] == users["shops"][1] == users[None][0]


def test_a_failed_export_leaves_nothing_behind(scenario, tmp_path: Path, monkeypatch) -> None:
    workspace, chosen, *_ = scenario

    def fail(_: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.run.export_data.file_digest", fail)
    with pytest.raises(KeyboardInterrupt):
        export_data(workspace, chosen, tmp_path / "plain")
    assert list(tmp_path.glob("*plain*")) == []


def test_scenarios_that_select_on_test_are_not_exported(toy, tmp_path: Path) -> None:
    chosen = toy.replace(toy.suite.scenarios[0], split="leave-one-out-selected-on-test")
    with pytest.raises(HarnessError, match="its validation events are its test events"):
        export_data(toy.workspace(), chosen, tmp_path / "plain")
