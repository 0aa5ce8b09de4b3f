"""The retriever head on decoder-only models: one pass over a history gives all its prefixes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import GPT2Config, GPT2Model

from harness.data.domain import Catalogue, Sequences
from harness.data.prepare import prepare
from harness.errors import HarnessError
from harness.methods.api import FitContext, VectorScorer
from harness.protocol.split import LeaveOneOut, TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts
from harness.storage.store import Store
from tests.conftest import toy_raw
from tests.contexts import make_context
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import Backbone, find_backbone, load, load_tokenizer, sizes_of
from weaverec.lm.batching import padded
from weaverec.lm.lora import LoraSettings, adapted
from weaverec.merging.task_vectors import task_vector
from weaverec.retriever.encoding import RetrieverSettings, catalogue_vectors, hidden_states, history_encoder
from weaverec.retriever.train import ComponentSettings, component
from weaverec.weaverec import weaverec

TITLES = tuple(f"film number {i} {'abc ' * (i % 4)}" for i in range(20))
CATALOGUE = Catalogue(tuple(map(str, range(20))), TITLES)
HISTORIES = Sequences.of([[1, 2, 3, 4], [5, 6], [7, 8, 9, 10, 11, 0], [3, 3]])


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def loaded(request, tmp_path_factory: pytest.TempPathFactory):
    backbone = decoder(request.param, tmp_path_factory.mktemp(request.param))
    return backbone, *load(backbone)


def encoder_of(loaded, history: int = 20):
    return history_encoder(loaded[0], CATALOGUE, loaded[2], RetrieverSettings(max_tokens=64, history=history))


def tokens(loaded, items) -> list[int]:
    _, _, tokenizer = loaded
    ids = [i for item in items for i in tokenizer(TITLES[item] + "\n", add_special_tokens=False)["input_ids"]]
    return [*tokenizer("")["input_ids"], *ids]


def prompt_by_prompt(loaded, sequences: Sequences) -> torch.Tensor:
    """Each prefix as a prompt of its own."""
    parts = []
    for items in sequences:
        for end in range(1, len(items)):
            states = loaded[1](input_ids=torch.tensor([tokens(loaded, items[:end])])).last_hidden_state
            parts.append(states[0, -1])
    return F.normalize(torch.stack(parts), dim=-1)


def test_decoder_only_models_are_recognised(loaded) -> None:
    assert loaded[0].decoder_only
    assert not find_backbone("minilm").decoder_only
    assert find_backbone(str(loaded[0].folder)).digest == loaded[0].digest


def test_a_kind_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(HarnessError, match="neither an encoder nor a decoder-only"):
        _ = Backbone("pictures", tmp_path).decoder_only


OWN_CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
class Config(PretrainedConfig):
    model_type = "{kind}"
class Model(PreTrainedModel):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.mark.parametrize("kind", ["qwen2", "some-new-kind"])
def test_a_backbone_s_own_code_is_never_run(tmp_path: Path, monkeypatch, kind: str) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("the user was asked")

    monkeypatch.setattr("builtins.input", asked)
    backbone = decoder("qwen2", tmp_path / "qwen2")
    marker = tmp_path / "it ran"
    (backbone.folder / "own.py").write_text(OWN_CODE.format(marker=str(marker), kind=kind))
    for name, entries in (
        ("config.json", {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]}),
    ):
        path = backbone.folder / name
        changed = json.loads(path.read_text()) | {"auto_map": entries}
        path.write_text(json.dumps(changed | ({"model_type": kind} if name == "config.json" else {})))
    if kind == "qwen2":  # transformers has it: its own code is taken
        sizes_of(backbone)
        load(backbone)
        load(backbone, "tokens")
    else:
        for head in ("states", "tokens"):
            with pytest.raises(HarnessError, match="needs code of its own, which is never run"):
                sizes_of(backbone, head)
        load_tokenizer(backbone)  # from the tokenizer's own files
        with pytest.raises(HarnessError, match="neither an encoder nor a decoder-only model"):
            load(backbone)
    assert not marker.exists()


def test_a_model_whose_adapters_could_not_be_merged_is_refused_before_it_is_trained(loaded) -> None:
    tiny = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=10, n_positions=8))
    with pytest.raises(HarnessError, match="has transposed weights"):
        adapted(tiny, loaded[0], LoraSettings())


def test_the_digest_covers_every_file_that_is_read(loaded, tmp_path: Path) -> None:
    copy = Backbone("copy", Path(shutil.copytree(loaded[0].folder, tmp_path / "copy")))
    assert copy.digest == loaded[0].digest
    other = Backbone("other", Path(shutil.copytree(loaded[0].folder, tmp_path / "other")))
    with (other.folder / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    assert other.digest != loaded[0].digest


def test_one_pass_gives_the_states_the_loss_and_the_gradients_of_one_prompt_a_prefix(loaded) -> None:
    _, model, _ = loaded
    encoder = encoder_of(loaded)
    targets = torch.tensor([item for items in HISTORIES for item in items[1:]])
    outcomes = []
    for shared in (True, False):
        model.requires_grad_(True)
        model.zero_grad()
        vectors = encoder.items(model, np.arange(20))
        if shared:
            prefixes = encoder.prefixes(model, HISTORIES, vectors)
            states = prefixes.vectors
            assert HISTORIES.items[prefixes.events].tolist() == targets.tolist()
            assert HISTORIES.users[prefixes.events].tolist() == [
                u for u, seen in enumerate(HISTORIES) for _ in seen[1:]
            ]
        else:
            states = prompt_by_prompt(loaded, HISTORIES)
        loss = F.cross_entropy(states @ vectors.T / 0.1, targets)
        loss.backward()
        outcomes.append(
            (states.detach(), loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None])
        )
        model.requires_grad_(False)
    (states, loss, gradients), (expected_states, expected_loss, expected_gradients) = outcomes
    torch.testing.assert_close(states, expected_states, atol=1e-5, rtol=0)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


def test_long_histories_go_in_windows_and_every_event_is_a_target_once(loaded) -> None:
    encoder = encoder_of(loaded, history=4)
    long = Sequences.of([np.arange(15) % 20, [4, 5]])
    with torch.no_grad():
        vectors = catalogue_vectors(loaded[1], encoder)
        prefixes = encoder.prefixes(loaded[1], long, vectors)
        whole = encoder.histories(loaded[1], long, vectors)
        alone = prompt_by_prompt(loaded, Sequences.of([[11, 12, 13, 14, 0]]))[-1]
    assert prefixes.events.tolist() == [*range(1, 15), 16]
    assert prefixes.vectors.shape == (15, 32)
    torch.testing.assert_close(whole[0], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("left", [True, False])
def test_padding_on_either_side_moves_nothing(loaded, left: bool) -> None:
    _, model, tokenizer = loaded
    rows = [tokens(loaded, items) for items in HISTORIES]
    ids, mask = padded(rows, tokenizer.pad_token_id, left)
    with torch.no_grad():
        states = hidden_states(model, ids, mask)
        for row, row_ids in enumerate(rows):
            alone = model(input_ids=torch.tensor([row_ids])).last_hidden_state[0]
            torch.testing.assert_close(states[row][mask[row].bool()], alone, atol=1e-5, rtol=0)


def test_scores_do_not_depend_on_the_batch(loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def scores() -> torch.Tensor:
        encoder = encoder_of(loaded)
        vectors = catalogue_vectors(loaded[1], encoder)
        with torch.no_grad():
            return encoder.histories(loaded[1], HISTORIES, vectors) @ vectors.T

    together = scores()
    monkeypatch.setattr("weaverec.lm.tokens.BATCH_TOKENS", 1)
    torch.testing.assert_close(together, scores(), atol=1e-4, rtol=0)


def test_a_history_without_items_has_the_zero_vector(loaded) -> None:
    encoder = encoder_of(loaded)
    with torch.no_grad():
        vectors = catalogue_vectors(loaded[1], encoder)
        histories = encoder.histories(loaded[1], Sequences.of([[], [2]]), vectors)
    assert not histories[0].any()
    torch.testing.assert_close(histories[1], vectors[2], atol=1e-5, rtol=0)


def test_a_component_is_trained_merged_and_served(loaded, tmp_path: Path) -> None:
    backbone = loaded[0]
    parts = {n: LeaveOneOut().training(prepare(toy_raw(n, i, 12, 15), 1)) for i, n in enumerate("ab")}
    data = TrainingData("a", ("b",), parts)
    settings = {"backbone": str(backbone.folder), "steps": 3, "batch": 30, "checkpointing": True}
    method = weaverec().tuned(settings)
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    scorer = method.fit(data, FitContext(Budget(1, 5, 5), 0, "cpu", artefacts))
    assert isinstance(scorer, VectorScorer)
    folders = sorted((tmp_path / "lora").iterdir())
    assert len(folders) == 2
    assert any(layer.abs().max() > 0 for layer in task_vector(folders[0]).values())
    PeftModel.from_pretrained(load(backbone)[0], folders[0])
    # The same task vectors fold into the model that writes.
    model, _ = method.merged_model(data, FitContext(Budget(1, 5, 5), 0, "cpu", artefacts), export=True)
    states, _ = method.merged_model(data, FitContext(Budget(1, 5, 5), 0, "cpu", artefacts))
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight, states.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize("saves", [{"checkpointing": True}, {"accumulate": True}])
def test_a_step_computed_twice_instead_of_kept_is_the_same_step(loaded, tmp_path: Path, monkeypatch, saves) -> None:
    monkeypatch.setattr("weaverec.lm.tokens.BATCH_TOKENS", 64)  # a step is many batches of texts
    parts = {n: LeaveOneOut().training(prepare(toy_raw(n, i, 12, 15), 1)) for i, n in enumerate("ab")}
    data = TrainingData("a", ("b",), parts)
    weights = []
    for number, how in enumerate((saves, {})):
        settings = ComponentSettings(backbone=str(loaded[0].folder), steps=2, batch=30, dropout=0.1, **how)
        folder = tmp_path / str(number)
        folder.mkdir()
        component(data, ("a",), settings, Budget(1, 5, 5), 0).make(folder, make_context(folder))
        weights.append(task_vector(folder))
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-5, rtol=1e-3)
