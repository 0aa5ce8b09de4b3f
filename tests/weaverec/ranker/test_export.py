"""Exported rankers follow the rules by which vLLM and llama.cpp load a folder of a Hugging Face model.

Neither is installed: the rules are written down here. vLLM's are those of `load_weights` in its `llama.py` and
`qwen2.py`; llama.cpp's are those of `convert_hf_to_gguf.py`, which asks the package `gguf` for the names of tensors.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.data.prepare import prepare
from harness.methods.api import FitContext
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts
from harness.storage.store import Store
from tests.conftest import toy_raw
from tests.weaverec.decoders import decoder
from tests.weaverec.ranker.films import skip_without_smollm2
from weaverec.ranker.method import by_name

ROPE = {"rope_type": "default", "rope_theta": 250_000.0}

#: Tokenizer classes of transformers 4 that read a tokenizer.json.
OLDER_CLASSES = (
    "PreTrainedTokenizerFast",
    "Qwen2Tokenizer",
    "Qwen2TokenizerFast",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
)

#: In vLLM, several tensors of a file are parts of one parameter, in this order.
STACKED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


@dataclass(frozen=True)
class Exported:
    """An exported folder: its JSON files, and the shape and type of each tensor."""

    folder: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    dtypes: set[str]


def exported(backbone: str, weights: str, folder: Path) -> Exported:
    data = TrainingData("a", (), {"a": LeaveOneOut().training(prepare(toy_raw("a", 0, 8, 15), 1))})
    context = FitContext(Budget(1, 1, 1), 0, "cpu", RunArtefacts(Store(folder / "store"), "cpu", lambda *_: None))
    model = folder / "model"
    model.mkdir()
    by_name("zero-shot").tuned({"backbone": backbone, "weights": weights}).export(data, context, model)
    with safe_open(model / "model.safetensors", "pt") as file:
        tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
        dtypes = {tensor.get_dtype() for tensor in tensors.values()}
    return Exported(model, read_json(model / "config.json"), shapes, dtypes)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(
    scope="module",
    params=[
        ("llama", False),
        ("llama", True),
        ("qwen2", False),
        ("qwen2", True),
        pytest.param("smollm2", marks=pytest.mark.slow),
    ],
    ids=str,
)
def export(request, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("export")
    if request.param == "smollm2":
        skip_without_smollm2()
        return exported("smollm2", "bfloat16", folder)
    kind, tied = request.param
    # More rows than the tokenizer has tokens, as published models often have.
    base = decoder(kind, folder / "base", tie_word_embeddings=tied, rope_parameters=ROPE, vocab_size=336)
    return exported(str(base.folder), "bfloat16" if tied else "float32", folder)


def test_the_configuration_has_what_loaders_read(export: Exported) -> None:
    config = export.config
    assert config["architectures"] == [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[config["model_type"]]]
    assert config["dtype"] == config["torch_dtype"]
    assert export.dtypes == {{"bfloat16": "BF16", "float32": "F32"}[config["torch_dtype"]]}
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] != 10_000
    assert config["rope_parameters"]["rope_type"] == "default"
    assert config["hidden_size"] % config["num_attention_heads"] == 0
    assert config["num_attention_heads"] % config["num_key_value_heads"] == 0
    assert export.shapes["model.embed_tokens.weight"] == (config["vocab_size"], config["hidden_size"])
    assert ("lm_head.weight" in export.shapes) == (not config["tie_word_embeddings"])
    assert not {"quantization_config", "auto_map"} & config.keys()
    assert not config.get("use_sliding_window")


def vllm_parameters(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The parameters of vLLM's model, and their shapes."""
    size, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or size // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    expected = {"model.embed_tokens.weight": (config["vocab_size"], size), "model.norm.weight": (size,)}
    if not config["tie_word_embeddings"]:
        expected["lm_head.weight"] = (config["vocab_size"], size)
    for layer in (f"model.layers.{number}" for number in range(config["num_hidden_layers"])):
        expected |= {
            f"{layer}.input_layernorm.weight": (size,),
            f"{layer}.post_attention_layernorm.weight": (size,),
            f"{layer}.self_attn.qkv_proj.weight": (queries + 2 * keys, size),
            f"{layer}.self_attn.o_proj.weight": (size, queries),
            f"{layer}.mlp.gate_up_proj.weight": (2 * inner, size),
            f"{layer}.mlp.down_proj.weight": (size, inner),
        }
        if config["model_type"] == "qwen2":
            expected[f"{layer}.self_attn.qkv_proj.bias"] = (queries + 2 * keys,)
    return expected


def test_every_weight_has_its_place_in_vllm(export: Exported) -> None:
    remaining = dict(export.shapes)
    loaded = {}
    for name in vllm_parameters(export.config):
        stacked = next((whole for whole in STACKED if f".{whole}." in name), None)
        parts = [name.replace(stacked, part) for part in STACKED[stacked]] if stacked else [name]
        shapes = [remaining.pop(part) for part in parts]
        loaded[name] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    assert loaded == vllm_parameters(export.config)
    assert not remaining


def test_every_weight_has_its_place_in_llama_cpp(export: Exported) -> None:
    gguf = pytest.importorskip("gguf")
    architecture = gguf.MODEL_ARCH[export.config["model_type"].upper()]
    layers = export.config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(architecture, layers)
    places = {name: names.get_type_and_name(name, try_suffixes=(".weight", ".bias")) for name in export.shapes}
    assert None not in places.values()
    assert len({place for _, place in places.values()}) == len(places)
    kinds = {kind for kind, _ in places.values()}
    computed = {gguf.MODEL_TENSOR.ROPE_FREQS, gguf.MODEL_TENSOR.ATTN_ROT_EMBD}
    needed = {
        kind for kind in gguf.MODEL_TENSORS[architecture] if "EXP" not in kind.name and "GATE_INP" not in kind.name
    }
    needed -= computed
    if export.config["tie_word_embeddings"]:
        needed.remove(gguf.MODEL_TENSOR.OUTPUT)
    assert kinds == needed
    layer_of = {re.search(r"\d+", place).group() for _, place in places.values() if place.startswith("blk.")}
    assert layer_of == set(map(str, range(layers)))


def test_both_find_the_tokenizer_and_its_special_tokens(export: Exported) -> None:
    gguf = pytest.importorskip("gguf")
    tokenizer = AutoTokenizer.from_pretrained(export.folder)
    written = read_json(export.folder / "tokenizer_config.json")
    assert written["tokenizer_class"] in OLDER_CLASSES
    assert written["chat_template"] == tokenizer.chat_template
    assert (export.folder / "chat_template.jinja").read_text() == tokenizer.chat_template
    tokens = read_json(export.folder / "tokenizer.json")
    # llama.cpp has a token for each row of the embedding; rows beyond the tokenizer's are padding.
    ids = [*tokens["model"]["vocab"].values(), *(token["id"] for token in tokens["added_tokens"])]
    assert max(ids) < export.config["vocab_size"]
    special = gguf.SpecialVocab(export.folder, load_merges=True, n_vocab=export.config["vocab_size"])
    assert special.merges
    assert special.chat_template == tokenizer.chat_template
    assert special.special_token_ids["eos"] == tokenizer.eos_token_id == export.config["eos_token_id"]
    assert special.special_token_ids["bos"] == tokenizer.bos_token_id == export.config["bos_token_id"]
    assert special.special_token_ids["pad"] == tokenizer.pad_token_id
    generation = read_json(export.folder / "generation_config.json")
    assert generation["eos_token_id"] == tokenizer.eos_token_id


def test_transformers_loads_the_same_model(export: Exported) -> None:
    model = AutoModelForCausalLM.from_pretrained(export.folder)
    assert model.dtype == getattr(torch, export.config["torch_dtype"])
    assert model.config.rope_parameters["rope_theta"] == export.config["rope_theta"]
    saved = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if export.config["tie_word_embeddings"]:
        del saved["lm_head.weight"]
    assert saved == export.shapes
