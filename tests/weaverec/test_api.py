"""`from weaverec import ...`: components and merging without the harness' command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import weaverec
from harness.errors import HarnessError
from tests.weaverec.decoders import decoder
from tests.weaverec.retriever.test_train import data
from weaverec import (
    ComponentSettings,
    find_backbone,
    fold,
    hybrids,
    load,
    save_model,
    task_vector,
    train_component,
    weighted_sum,
)


def test_public_names_are_there_and_are_documented() -> None:
    assert list(weaverec.__all__) == sorted(weaverec.__all__)
    for name in weaverec.__all__:
        assert getattr(weaverec, name).__doc__
        assert f"`{name}`" in sys.modules["weaverec.api"].__doc__
    with pytest.raises(AttributeError, match="no attribute 'folds'"):
        _ = weaverec.folds


def test_importing_the_package_or_asking_for_help_does_not_import_torch() -> None:
    code = (
        "import sys, weaverec, harness.cli.app; "
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert run.stdout.strip() == "[]"


def test_a_notebook_trains_merges_and_folds_in_a_few_lines(tmp_path: Path) -> None:
    folder = decoder("qwen2", tmp_path / "qwen2").folder
    settings = ComponentSettings(backbone=str(folder), steps=2, batch=30)

    components = [
        train_component(data("a", ("b",)), mix, tmp_path / "+".join(mix), settings) for mix in hybrids("a", ("b",))
    ]
    merged = weighted_sum([component.task_vector for component in components], [0.5, 0.5])
    model, tokenizer = load(find_backbone(str(folder)))
    fold(model, merged)
    save_model(model, tokenizer, tmp_path / "model", "qwen2", [component.name for component in components])

    layer = "layers.0.mlp.up_proj.weight"
    base, served = (load(find_backbone(str(path)))[0] for path in (folder, tmp_path / "model"))
    vectors = [task_vector(tmp_path / name)[layer] for name in ("a", "a+b")]
    expected = base.get_parameter(layer) + 0.5 * vectors[0] + 0.5 * vectors[1]
    torch.testing.assert_close(served.get_parameter(layer), expected)
    assert all(vector.abs().max() > 0 for vector in vectors)
    with pytest.raises(HarnessError, match="is not empty"):
        train_component(data("a", ("b",)), ("a",), tmp_path / "a", settings)
