"""Exporting and diagnosing a suite's methods."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from baselines.language_models import target_only
from harness.errors import HarnessError
from harness.methods.api import FitContext
from harness.report.diagnostics import write_diagnosis
from harness.run.artefact import RunArtefacts
from harness.run.inspect import diagnose, export
from harness.run.scenario_data import open_training

SHORT = {"steps": 2, "batch": 40}


@pytest.fixture
def run_arguments(toy):
    toy.add("short", lambda: target_only().tuned(SHORT))
    return {
        "workspace": toy.workspace(),
        "scenario": toy.suite.scenarios[0],
        "seed": 0,
        "report": lambda *_: None,
    }


def test_exported_model_matches_the_served_model_without_peft(
    run_arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Serve in float32, the type in which the exported folder is loaded.
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)
    folder = tmp_path / "model"
    export(**run_arguments, name="short", folder=folder)
    assert (folder / "model.safetensors").is_file()
    assert not list(folder.glob("adapter*"))
    assert "all-MiniLM-L6-v2" in (folder / "README.md").read_text()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    data = open_training(run_arguments["workspace"], run_arguments["scenario"])
    artefacts = RunArtefacts(run_arguments["workspace"].store, "cpu", lambda *_: None)
    served = (
        target_only().tuned(SHORT).fit(data, FitContext(run_arguments["workspace"].suite.budget, 0, "cpu", artefacts))
    )
    for item in (0, 7):
        with torch.no_grad():
            states = model(**tokenizer(data.target_domain.catalogue.texts[item], return_tensors="pt"))
        vector = states.last_hidden_state[0].mean(0)
        np.testing.assert_allclose(served.item_vectors()[item], vector / vector.norm(), atol=1e-5)


def test_export_refuses_an_existing_folder(run_arguments, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(HarnessError, match="exists"):
        export(**run_arguments, name="short", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name == "mine.txt"]


def test_methods_without_a_model_are_refused(run_arguments, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no model that others could load"):
        export(**run_arguments, name="popularity", folder=tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(HarnessError, match="offers no diagnosis"):
        diagnose(**run_arguments, name="popularity")


def test_a_diagnosis_is_written_with_its_plot(run_arguments, tmp_path: Path) -> None:
    from weaverec.weaverec import weaverec

    workspace = run_arguments["workspace"]
    context = FitContext(workspace.suite.budget, 0, "cpu", RunArtefacts(workspace.store, "cpu", lambda *_: None))
    data = open_training(workspace, run_arguments["scenario"])
    tables = weaverec().tuned(SHORT).diagnose(data, context, lambda *_: None)
    files = write_diagnosis("weaverec on toy", "Made by hand.", tables, tmp_path / "why.md")
    text = files[0].read_text()
    assert [path.suffix for path in files] == [".md", ".png"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert f"({files[1].name})" in text
    assert text.count("\n## ") == len(tables) == 4
