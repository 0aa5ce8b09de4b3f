"""Blockwise softmax equals torch's cross-entropy."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from baselines.recbole_models import softmax
from baselines.recbole_models.softmax import catalogue_softmax

N_ITEMS, WIDTH = 50, 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_CPU_BLOCK", 16 * N_ITEMS)  # several blocks


def loss_and_gradients(loss_of, blockwise: bool, n_rows: int = 40):
    generator = torch.Generator().manual_seed(0)
    states, items = (torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) for n in (n_rows, N_ITEMS))
    bias = torch.randn(N_ITEMS, generator=generator, dtype=torch.float64)
    targets = torch.randint(N_ITEMS, (n_rows,), generator=generator)
    inputs = [tensor.requires_grad_() for tensor in (states, items, bias)]
    with catalogue_softmax(N_ITEMS, torch.float64) if blockwise else nullcontext():
        loss = loss_of(*inputs, targets)
    loss.backward()
    return [loss.detach(), *(tensor.grad for tensor in inputs)]


LOSSES = {
    "as SASRec": lambda s, w, b, t: torch.nn.CrossEntropyLoss()(torch.matmul(s, w.transpose(0, 1)), t),
    "with @": lambda s, w, b, t: F.cross_entropy(s @ w.T, t),
    "with a temperature, as CORE": lambda s, w, b, t: F.cross_entropy(torch.matmul(s, w.T) / 0.07, t),
    "with a bias, as BERT4Rec": lambda s, w, b, t: (
        (
            torch.nn.CrossEntropyLoss(reduction="none")(
                (torch.matmul(s.view(-1, 2, WIDTH), w.transpose(0, 1)) + b).view(-1, N_ITEMS), t.view(-1)
            )
            * (t > 7)
        ).sum()
        / 10
    ),
    "multiplied out": lambda s, w, b, t: torch.log_softmax(torch.matmul(s, w.T) * 2 + 1, 1)[range(len(t)), t].sum(),
    "smoothed": lambda s, w, b, t: F.cross_entropy(torch.matmul(s, w.T), t, label_smoothing=0.1),
    "with a weight a class": lambda s, w, b, t: F.cross_entropy(torch.matmul(s, w.T), t, weight=b.detach().abs()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_torchs(name: str) -> None:
    for actual, expected in zip(
        loss_and_gradients(LOSSES[name], True), loss_and_gradients(LOSSES[name], False), strict=True
    ):
        if expected is None:
            assert actual is None
        else:
            torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


def test_models_that_count_padding_raise() -> None:
    states, items = torch.randn(3, WIDTH, requires_grad=True), torch.randn(N_ITEMS, WIDTH)
    with catalogue_softmax(N_ITEMS):
        losses = F.cross_entropy(states @ items.T, torch.tensor([4, 0, 2]), reduction="none")
    assert losses[1] == 0
    with pytest.raises(RuntimeError, match="counts the loss of padding"):
        losses.sum().backward()


def test_the_whole_matrix_is_never_allocated() -> None:
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    with Watch():
        loss_and_gradients(LOSSES["as SASRec"], True, n_rows=400)
    assert max(sizes) <= 400 * WIDTH < 400 * N_ITEMS


def test_bfloat16_is_close() -> None:
    items, states = torch.randn(N_ITEMS, WIDTH), torch.randn(30, WIDTH)
    targets = torch.arange(30)
    losses = {}
    for precision in (torch.float32, torch.bfloat16):
        weights = items.clone().requires_grad_()
        with catalogue_softmax(N_ITEMS, precision):
            loss = F.cross_entropy(states @ weights.T, targets)
        loss.backward()
        losses[precision] = loss.item(), weights.grad
    assert losses[torch.bfloat16][0] == pytest.approx(losses[torch.float32][0], rel=1e-2)
    assert losses[torch.bfloat16][1].dtype == torch.float32
    torch.testing.assert_close(losses[torch.bfloat16][1], losses[torch.float32][1], atol=3e-3, rtol=0.05)


def test_smaller_products_are_unchanged() -> None:
    with catalogue_softmax(N_ITEMS):
        assert isinstance(torch.randn(3, 4) @ torch.randn(4, N_ITEMS - 1), torch.Tensor)
