"""Weighted layers give what the merged weights give, and the gradients of automatic differentiation."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from harness.data.domain import Catalogue
from tests.weaverec.merging.dense import DenselyMerged
from weaverec.lm import packing
from weaverec.lm.backbone import find_backbone, load
from weaverec.merging.task_vectors import LowRank, by_layer, folded
from weaverec.merging.weighted_layers import WeightedLinear, _WeightedProduct, weighted_layers
from weaverec.retriever.encoding import RetrieverSettings, history_encoder

RANKS = (4, 2, 3)
TEXTS = ("a film", "the last film of the year", "", "a film about a long journey through the mountains", "noir")

Encode = Callable[[nn.Module], torch.Tensor]


def tiny() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    return BertModel(config).eval().requires_grad_(False)


def task_vectors(model: nn.Module) -> list[LowRank]:
    """A random task vector of each rank, over all linear layers."""
    generator = torch.Generator().manual_seed(1)
    shapes = {f"{n}.weight": m.weight.shape for n, m in model.named_modules() if isinstance(m, nn.Linear)}

    def factor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[1] ** 0.5

    return [LowRank({n: (0.3 * factor(out, r), factor(r, into)) for n, (out, into) in shapes.items()}) for r in RANKS]


def drawn_weights(vectors: list[LowRank]) -> torch.Tensor:
    """Weights of each layer's task vectors: [n_layers, n_vectors]."""
    logits = torch.randn(len(vectors[0]), len(vectors), generator=torch.Generator().manual_seed(2))
    return torch.softmax(logits, dim=1).requires_grad_()


def gradients(model: nn.Module, encode: Encode) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors from weighted layers, and the gradient of a loss in the weights."""
    vectors = task_vectors(model)
    weights = drawn_weights(vectors)
    with weighted_layers(model, vectors) as layers:
        for layer, row in zip(layers.values(), weights, strict=True):
            layer.weights = row
        encoded = encode(model)
        loss(encoded).backward()
    assert weights.grad is not None
    return encoded.detach(), weights.grad


def dense_gradients(model: nn.Module, encode: Encode) -> tuple[torch.Tensor, torch.Tensor]:
    """The same from dense sums of task vectors and automatic differentiation through them."""
    vectors = task_vectors(model)
    weights = drawn_weights(vectors)
    encoded = encode(DenselyMerged(model, vectors, weights))
    loss(encoded).backward()
    assert weights.grad is not None
    return encoded.detach(), weights.grad


def loss(vectors: torch.Tensor) -> torch.Tensor:
    return (vectors.flatten(0, -2) @ vectors.flatten(0, -2).T).square().sum()


def hidden_states(model: nn.Module) -> torch.Tensor:
    states: torch.Tensor = model(input_ids=torch.arange(24).reshape(2, 12)).last_hidden_state
    return states


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_a_layer_are_those_of_finite_differences(bias: bool) -> None:
    torch.manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    x, scales = draw(2, 3, 5).requires_grad_(), draw(4).requires_grad_()
    fixed = draw(6, 5), draw(6) if bias else None, draw(6, 4), draw(4, 5)
    assert torch.autograd.gradcheck(lambda x, scales: _WeightedProduct.apply(x, *fixed, scales), (x, scales))


def test_weighted_layers_compute_what_the_merged_model_computes() -> None:
    model = tiny()
    vectors = task_vectors(model)
    weights = drawn_weights(vectors).detach()
    with folded(model, by_layer(vectors, dict(zip(vectors[0], weights.tolist(), strict=True)))):
        expected = hidden_states(model)
    with weighted_layers(model, vectors) as layers:
        torch.testing.assert_close(hidden_states(model), hidden_states(tiny()))  # weights of 0 are the base model
        for layer, row in zip(layers.values(), weights, strict=True):
            layer.weights = row
        torch.testing.assert_close(hidden_states(model), expected, atol=1e-6, rtol=0)
    assert (expected - hidden_states(model)).abs().max() > 0.1


def test_gradients_of_weights_are_those_through_the_dense_sum() -> None:
    states, found = gradients(tiny(), hidden_states)
    expected_states, expected = dense_gradients(tiny(), hidden_states)
    torch.testing.assert_close(states, expected_states, atol=1e-6, rtol=0)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
    pooler = list(task_vectors(tiny())[0]).index("pooler.dense.weight")
    assert (found.abs().sum(1) > 0).tolist() == [row != pooler for row in range(len(found))]


@pytest.mark.parametrize("packed", [True, False])
def test_texts_packed_or_padded_have_the_gradients_through_the_dense_sum(
    monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    model, tokenizer = load(find_backbone("minilm"))
    catalogue = Catalogue(tuple(map(str, range(len(TEXTS)))), TEXTS)
    encoder = history_encoder(find_backbone("minilm"), catalogue, tokenizer, RetrieverSettings())
    if not packed:
        monkeypatch.setattr(packing, "PACKABLE", ())

    def encode(model: nn.Module) -> torch.Tensor:
        return encoder.items(model, np.arange(len(TEXTS)))

    vectors, found = gradients(model, encode)
    expected_vectors, expected = dense_gradients(model, encode)
    torch.testing.assert_close(vectors, expected_vectors, atol=2e-6, rtol=0)
    torch.testing.assert_close(found, expected, atol=2e-4 * float(expected.abs().max()), rtol=0)


def test_under_autocast_sums_of_weights_are_in_float32_and_products_in_bfloat16() -> None:
    base = nn.Linear(5, 6).requires_grad_(False)
    vectors = [LowRank({"weight": (torch.randn(6, r), torch.randn(r, 5))}) for r in RANKS]
    layer, x = WeightedLinear(base, vectors, "weight"), torch.randn(7, 5, requires_grad=True)
    layer.weights = torch.tensor([0.2, 0.3, 0.5], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.float().square().sum().backward()
    total = base.weight + sum(w * v["weight"] for w, v in zip([0.2, 0.3, 0.5], vectors, strict=True))
    rounded = nn.functional.linear(x.bfloat16(), total.bfloat16(), base.bias.bfloat16())
    assert torch.equal(output, rounded)
    assert output.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype == layer.weights.grad.dtype == torch.float32

    states, found = autocast_gradients(gradients)
    expected_states, expected = autocast_gradients(dense_gradients)
    torch.testing.assert_close(states, expected_states, atol=0.05, rtol=0)
    torch.testing.assert_close(found, expected, atol=0.05 * float(expected.abs().max()), rtol=0)


def autocast_gradients(compute: Callable[[nn.Module, Encode], tuple[torch.Tensor, torch.Tensor]]):
    def encode(model: nn.Module) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return hidden_states(model).float()

    return compute(tiny(), encode)


def test_a_model_has_its_layers_back_also_after_an_error() -> None:
    model = tiny()
    modules, states = dict(model.named_modules()), hidden_states(model)
    vectors = task_vectors(model)

    def replaced() -> list[str]:
        return [name for name, module in model.named_modules() if isinstance(module, WeightedLinear)]

    with weighted_layers(model, vectors):
        assert [f"{name}.weight" for name in replaced()] == list(vectors[0])
    with pytest.raises(RuntimeError, match="interrupted"), weighted_layers(model, vectors):
        raise RuntimeError("interrupted")
    assert dict(model.named_modules()) == modules
    assert torch.equal(hidden_states(model), states)


def test_task_vectors_that_do_not_fit_are_refused_before_a_layer_is_replaced() -> None:
    model = tiny()
    modules, name = dict(model.named_modules()), "pooler.dense.weight"
    fitting = {name: (torch.ones(16, 2), torch.ones(2, 16))}
    for factors, message in (
        ({"no.such.weight": (torch.ones(16, 2), torch.ones(2, 16))}, "no linear layer .* no.such"),
        (
            {"embeddings.word_embeddings.weight": (torch.ones(50, 2), torch.ones(2, 16))},
            "no linear layer .* embeddings",
        ),
        ({name: (torch.ones(16, 2), torch.ones(2, 8))}, r"pooler.dense.weight is of shape \[16, 16\]"),
    ):
        with pytest.raises(ValueError, match=message), weighted_layers(model, [LowRank(fitting | factors)]):
            pass
    with pytest.raises(ValueError, match="different layers"), weighted_layers(model, [LowRank(fitting), LowRank({})]):
        pass
    assert dict(model.named_modules()) == modules
