"""Croissant metadata of data sets and of exported data, as mlcroissant reads it."""

import hashlib
import json
import shutil
from pathlib import Path

import mlcroissant
import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.datasets import dataset_names, load_dataset
from harness.datasets.croissant import dataset_metadata
from harness.errors import HarnessError, UnavailableError
from harness.run.export_data import export_data


def read(path: Path) -> mlcroissant.Dataset:
    dataset = mlcroissant.Dataset(jsonld=path)
    assert dataset.metadata.ctx.issues.errors == set()
    return dataset


def records(dataset: mlcroissant.Dataset, name: str) -> pd.DataFrame:
    frame = pd.DataFrame(dataset.records(name))
    frame.columns = [column.rpartition("/")[2] for column in frame]
    return frame.map(lambda value: value.decode() if isinstance(value, bytes) else value)


@pytest.mark.parametrize("form", ["plain", "recbole"])
def test_exported_data_are_read_by_their_metadata(toy, tmp_path: Path, form: str) -> None:
    workspace, scenario = toy.workspace(), toy.suite.scenarios[0]
    export_data(workspace, scenario, tmp_path / "data", form)
    dataset = read(tmp_path / "data" / "croissant.json")
    assert dataset.metadata.name == f"toy-v1-{scenario.name}"
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text(encoding="utf-8"))
    files = {file.name: file.sha256 for file in dataset.metadata.file_objects}
    assert files == manifest["files"]
    assert len(dataset.metadata.record_sets) == len(files)
    for record_set, path in zip(dataset.metadata.record_sets, files, strict=True):
        separator = "," if path.endswith(".csv") else "\t"
        expected = pd.read_csv(tmp_path / "data" / path, sep=separator, dtype=str, keep_default_na=False)
        expected.columns = [column.partition(":")[0] for column in expected]
        actual = records(dataset, record_set.id)
        assert list(actual) == list(expected)
        for column in expected:
            numeric = column in ("position", "timestamp")
            assert actual[column].tolist() == expected[column].astype(float if numeric else str).tolist()


def test_metadata_of_every_data_set_are_valid(tmp_path: Path) -> None:
    """Files that are not here are stood in for: only their hashes go into the metadata."""
    for name in dataset_names():
        dataset = load_dataset(name)
        try:
            paths = [path for path in dataset.source.files(tmp_path) if path.is_relative_to(tmp_path)]
        except UnavailableError:  # MovieLens 100K, without RecBole
            continue
        for path in (*paths, *(tmp_path / dataset.folder / file.name for file in dataset.files)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        (tmp_path / "croissant.json").write_text(json.dumps(dataset_metadata(dataset, tmp_path)))
        read_back = read(tmp_path / "croissant.json").metadata
        assert (read_back.name, read_back.url) == (name, dataset.page)
        hashes = {file.name: file.sha256 for file in read_back.file_objects}
        for file in dataset.files:
            assert hashes[file.name] == file.sha256 or hashlib.sha256(file.name.encode()).hexdigest()
        assert len(hashes) == len(dataset.files or dataset.source.files(tmp_path))
        shutil.rmtree(tmp_path / dataset.folder, ignore_errors=True)
        tmp_path.mkdir(exist_ok=True)


def test_the_command_describes_tables_that_mlcroissant_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "amazon2014-clothing"
    folder.mkdir()
    events = pd.DataFrame({"user_id": ["u1", "u2"], "item_id": ["a", "b"], "timestamp": [1_400_000_000, 1_400_000_060]})
    items = pd.DataFrame({"item_id": ["a", "b"], "title": ["coat", "hat, red"]})
    events.to_csv(folder / "interactions.csv.gz", index=False)
    items.to_csv(folder / "items.csv.gz", index=False)
    command = ["data", "croissant", "amazon2014-clothing", "--data-dir", str(tmp_path)]
    printed = CliRunner().invoke(app, command, catch_exceptions=False)
    (tmp_path / "croissant.json").write_text(printed.stdout, encoding="utf-8")
    dataset = read(tmp_path / "croissant.json")
    assert records(dataset, "interactions").astype(str).equals(events.astype({"timestamp": float}).astype(str))
    assert records(dataset, "items").equals(items)
    (folder / "items.csv.gz").unlink()
    with pytest.raises(HarnessError, match=r"There is no file .*items\.csv\.gz.*Get it from https://github\.com"):
        CliRunner().invoke(app, command, catch_exceptions=False)
