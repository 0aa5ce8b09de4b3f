"""Pooling, prompts and normalisation by a sentence-transformers folder's files, against a hand-written reference."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from harness.data.domain import Catalogue, Sequences
from harness.errors import HarnessError
from harness.protocol.split import Histories
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import Backbone, find_backbone, load
from weaverec.lm.pooling import Pooling
from weaverec.retriever.encoding import RetrieverSettings, history_encoder, retriever
from weaverec.retriever.method import RetrieverHead
from weaverec.retriever.train import ComponentSettings

TEXTS = ("Toy Story", "A", "The Good, the Bad and the Ugly", "Toy Story")
MEAN, CLS, LAST = "pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_lasttoken"


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT with MiniLM's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "bert"
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**sizes, initializer_range=0.3)).save_pretrained(folder)
    for path in find_backbone("minilm").folder.glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(find_backbone("minilm").folder / "vocab.txt", folder)
    return folder


def sentence_transformer(
    original: Path, folder: Path, mode: str, modules: tuple[str, ...] = ("Transformer", "Pooling"), **config: Any
) -> Backbone:
    """A copy of a model with the files that sentence-transformers writes."""
    shutil.copytree(original, folder)
    kinds = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(kinds))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 8} | {name: name == mode for name in (MEAN, CLS, LAST)}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return Backbone("mine", folder)


def vectors(backbone: Backbone) -> torch.Tensor:
    model, tokenizer = load(backbone)
    catalogue = Catalogue(tuple(map(str, range(len(TEXTS)))), TEXTS)
    scorer = retriever(model, history_encoder(backbone, catalogue, tokenizer, RetrieverSettings()))
    assert np.isfinite(scorer.score(Histories(np.array([0]), Sequences.of([[0, 1]])), None)).all()
    return torch.from_numpy(scorer.item_vectors())


def by_hand(backbone: Backbone, mode: str, prompt: str = "", unit_length: bool = True) -> torch.Tensor:
    model, tokenizer = load(backbone)
    rows = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(**tokenizer(prompt + text, return_tensors="pt")).last_hidden_state[0]
        rows.append({MEAN: states.mean(0), CLS: states[0], LAST: states[-1]}[mode])
    stacked = torch.stack(rows)
    return stacked / stacked.norm(dim=1, keepdim=True) if unit_length else stacked


@pytest.mark.parametrize("mode", [MEAN, CLS, LAST])
@pytest.mark.parametrize("prompts", [{}, {"query": "query: ", "passage": "passage: "}, {"document": "passage: "}])
def test_vectors_are_what_the_folder_s_files_say(encoder_folder, tmp_path: Path, mode: str, prompts) -> None:
    backbone = sentence_transformer(encoder_folder, tmp_path / "m", mode, prompts=prompts)
    expected = by_hand(backbone, mode, "passage: " if prompts else "")
    torch.testing.assert_close(vectors(backbone), expected, atol=1e-5, rtol=0)
    others = [other for other in (MEAN, CLS, LAST) if other != mode]
    assert all((by_hand(backbone, other) - expected).abs().max() > 0.01 for other in others)


def test_a_default_prompt_stands_before_every_text(encoder_folder, tmp_path: Path) -> None:
    config = {"prompts": {"search": "find: "}, "default_prompt_name": "search"}
    backbone = sentence_transformer(encoder_folder, tmp_path / "m", CLS, **config)
    torch.testing.assert_close(vectors(backbone), by_hand(backbone, CLS, "find: "), atol=1e-5, rtol=0)


def test_vectors_for_dot_products_keep_their_length_unless_they_are_normalised(encoder_folder, tmp_path: Path) -> None:
    plain = sentence_transformer(encoder_folder, tmp_path / "dot", MEAN, similarity_fn_name="dot")
    torch.testing.assert_close(vectors(plain), by_hand(plain, MEAN, unit_length=False), atol=1e-5, rtol=0)
    modules = ("Transformer", "Pooling", "Normalize")
    unit = sentence_transformer(encoder_folder, tmp_path / "unit", MEAN, modules, similarity_fn_name="dot")
    torch.testing.assert_close(vectors(unit), by_hand(unit, MEAN), atol=1e-5, rtol=0)


def test_a_decoder_only_model_that_is_pooled_reads_text_by_text(tmp_path: Path) -> None:
    original = decoder("qwen2", tmp_path / "qwen").folder
    backbone = sentence_transformer(original, tmp_path / "m", MEAN)
    torch.testing.assert_close(vectors(backbone), by_hand(backbone, MEAN), atol=1e-5, rtol=0)


def test_without_such_files_an_encoder_has_the_mean_and_minilm_s_own_say_the_same(encoder_folder) -> None:
    plain = Backbone("bert", encoder_folder)
    torch.testing.assert_close(vectors(plain), by_hand(plain, MEAN), atol=1e-5, rtol=0)
    assert (find_backbone("minilm").folder / "1_Pooling" / "config.json").is_file()
    assert find_backbone("minilm").pooling == plain.pooling == Pooling("mean")
    assert RetrieverHead().content() == {"backbone": find_backbone("minilm").digest}


def test_results_and_artefacts_know_another_pooling(encoder_folder, tmp_path: Path) -> None:
    contents = []
    for mode in (MEAN, CLS):
        backbone = sentence_transformer(encoder_folder, tmp_path / mode, mode, prompts={"passage": "p: "})
        contents.append(RetrieverHead(ComponentSettings(backbone=str(backbone.folder))).content())
    assert [content["pooling"] for content in contents] == [
        "mean, unit length, passage prompt 'p: '",
        "cls, unit length, passage prompt 'p: '",
    ]
    assert contents[0]["backbone"] != contents[1]["backbone"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", '[{"type": "x.Transformer", "path": ""}, {"type": "x.Dense", "path": "2"}]', "module Dense"),
        ("modules.json", "{", "cannot be read"),
        ("modules.json", '{"a": 1}', "cannot be read"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pooling_mode_max_tokens is not supported"),
        ("1_Pooling/config.json", f'{{"{MEAN}": true, "{CLS}": true}}', "is not supported"),
        ("1_Pooling/config.json", f'{{"{CLS}": true, "include_prompt": false}}', "pooling without the prompt"),
        ("1_Pooling/config.json", None, "cannot be read"),
        ("config_sentence_transformers.json", '{"similarity_fn_name": "euclidean"}', "similarity 'euclidean'"),
        ("config_sentence_transformers.json", "[1]", "cannot be read"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    encoder_folder, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    backbone = sentence_transformer(encoder_folder, tmp_path / "m", MEAN)
    path = backbone.folder / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(HarnessError, match=message) as caught:
        backbone.check()
    assert str(path) in str(caught.value)
