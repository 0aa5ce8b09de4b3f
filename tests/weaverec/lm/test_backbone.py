"""Backbones are looked at before a run: whatever would not load whole is refused, by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BartConfig, BartModel, BertConfig, BertModel, T5Config, T5Model, ViTConfig, ViTModel

from harness.errors import HarnessError, UnavailableError
from harness.methods.registry import make_method
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import Backbone, find_backbone, load

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder("qwen2", tmp_path_factory.mktemp("models") / "qwen").folder


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def without_layer(folder: Path) -> None:
    weights(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1" in name])


def misshapen(folder: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    weights(folder, lambda tensors: tensors.update({name: tensors[name][:, :5].contiguous()}))


def truncated(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def in_parts(folder: Path) -> None:
    """As large models are saved: an index names two files."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    index = {}
    for part, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        save_file({name: tensors[name] for name in names}, folder / f"part{part}.safetensors", {"format": "pt"})
        index |= dict.fromkeys(names, f"part{part}.safetensors")
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def one_part_missing(folder: Path) -> None:
    in_parts(folder)
    (folder / "part1.safetensors").unlink()


def one_part_cut(folder: Path) -> None:
    in_parts(folder)
    content = (folder / "part1.safetensors").read_bytes()
    (folder / "part1.safetensors").write_bytes(content[:-1])


def part_without_what_the_index_says(folder: Path) -> None:
    in_parts(folder)
    tensors = load_file(folder / "part1.safetensors")
    tensors.popitem()
    save_file(tensors, folder / "part1.safetensors", {"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()


def another_tokenizer(folder: Path) -> None:
    for path in find_backbone("minilm").folder.glob("*token*"):
        shutil.copy(path, folder)


def saved(model: Callable[[], object]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        model().save_pretrained(folder)  # type: ignore[attr-defined]

    return replace


TINY_T5 = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=400)
TINY_BART = BartConfig(
    d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1,
    encoder_ffn_dim=8, decoder_ffn_dim=8, vocab_size=400,
)  # fmt: skip
TINY_VIT = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)

FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: [path.unlink() for path in folder.iterdir()], "has no readable config.json"),
    (lambda folder: (folder / "config.json").unlink(), "has no readable config.json"),
    (lambda folder: (folder / "config.json").write_text("{"), "has no readable config.json"),
    (lambda folder: (folder / "config.json").write_text("[]"), "has no readable config.json"),
    (lambda folder: (folder / WEIGHTS).unlink(), "has no weights (model.safetensors)"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b""), "has a damaged or truncated model.safetensors"),
    (lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 64), "has a damaged or truncated model.safetensors"),
    (truncated, "has a damaged or truncated model.safetensors"),
    (pickled, "has its weights as pickle only (pytorch_model.bin)"),
    (without_layer, "lacks 12 of the model's weights, such as layers.1."),
    (misshapen, "has, in another shape than its config.json says, 1 of the model's weights"),
    (one_part_missing, "has no weights part1.safetensors"),
    (one_part_cut, "has a damaged or truncated part1.safetensors"),
    (part_without_what_the_index_says, "of the model's weights"),
    (lambda folder: (in_parts(folder), (folder / f"{WEIGHTS}.index.json").write_text("[]")), "that cannot be read"),
    (without_tokenizer, "has no tokenizer"),
    (another_tokenizer, "has a tokenizer of 30,52"),
    (lambda folder: (folder / "adapter_config.json").write_text("{}"), "is an adapter, no model"),
    (saved(lambda: T5Model(TINY_T5)), "is of the kind 't5', neither an encoder nor a decoder-only model"),
    (saved(lambda: BartModel(TINY_BART)), "is of the kind 'bart', neither an encoder nor a decoder-only model"),
    (saved(lambda: ViTModel(TINY_VIT)), "is of the kind 'vit', neither an encoder nor a decoder-only model"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_a_backbone_that_would_not_load_whole_is_refused(whole, tmp_path: Path, damage, message, capfd) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    damage(folder)
    for refused in (Backbone("model", folder).check, lambda: load(Backbone("model", folder))):
        with pytest.raises(HarnessError) as caught:
            refused()
        assert message in str(caught.value)
        assert caught.value.hint
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_whole_backbones_pass(whole, tmp_path: Path) -> None:
    find_backbone("minilm").check()
    Backbone("qwen", whole).check()
    Backbone("qwen", whole).check("tokens")
    shutil.copytree(whole, tmp_path / "parts")
    in_parts(tmp_path / "parts")
    Backbone("parts", tmp_path / "parts").check("tokens")


def test_a_pooler_that_nothing_reads_may_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(find_backbone("minilm").folder, folder)
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    model, _ = load(Backbone("bert", folder))
    kept = load_file(folder / WEIGHTS)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in kept.items())


def test_a_head_counts_where_it_is_used(whole, tmp_path: Path) -> None:
    folder = tmp_path / "headless"
    shutil.copytree(whole, folder)
    AutoModel.from_pretrained(whole).save_pretrained(folder)
    Backbone("headless", folder).check()
    with pytest.raises(HarnessError, match=r"lacks 1 of the model's weights, such as lm_head\.weight"):
        Backbone("headless", folder).check("tokens")


def test_a_folder_is_looked_for_where_paths_start(whole, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(whole, tmp_path / "models" / "mine")
    monkeypatch.chdir(whole)
    assert find_backbone("models/mine", tmp_path) == Backbone("mine", tmp_path / "models" / "mine")
    assert find_backbone("./models/mine", tmp_path).name == "mine"
    assert find_backbone(str(whole), tmp_path).folder == whole
    assert find_backbone("minilm", tmp_path) == find_backbone("minilm")
    assert find_backbone(".", whole).name == "qwen"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./missing", "is no folder"),
        ("/no/such/folder", "is no folder"),
        ("../missing", "is no folder"),
        ("file.safetensors", "is no folder"),
        ("minlm", "Did you mean 'minilm'?"),
        ("MiniLM", "Did you mean 'minilm'?"),
        ("a/path/of/three", "nor a model's name"),
    ],
)
def test_a_wrong_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.safetensors").touch()
    with pytest.raises(HarnessError) as caught:
        find_backbone(name, tmp_path)
    assert message in str(caught.value)
    assert not isinstance(caught.value, UnavailableError)


def test_a_model_that_could_be_fetched_is_only_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="hf download nobody/has-this"):
        find_backbone("nobody/has-this", tmp_path)


def test_a_method_reads_a_path_from_the_suite_s_folder_and_keeps_it_as_it_is_written(whole, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "models" / "mine")
    for name in ("target-only", "ranker.target-only"):
        method = make_method(name).relative_to(tmp_path).tuned({"backbone": "models/mine"})
        assert method.settings.backbone == "models/mine"
        assert method.backbone == Backbone("mine", tmp_path / "models" / "mine")
        method.check_files()
