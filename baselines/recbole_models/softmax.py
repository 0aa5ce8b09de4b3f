"""Softmax cross-entropy over a whole catalogue, without the whole score matrix in memory.

RecBole's models multiply their states by all item embeddings and pass the product to `cross_entropy`. For 2,000
prefixes and 12,000 items that is 100 MB, written and read several times, which takes most of a training step. Inside
`catalogue_softmax` the product is kept as its two factors, and loss and gradients are computed in blocks of rows that
fit into the processor's cache: the same values, up to the order of sums. The models' code is unchanged. Items can be
left out of a row's softmax, such as those that the user has had.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness.training.device import has_bfloat16

#: Number of scores in a block: 8 MB of float32 on a CPU, 512 MB on a GPU.
_CPU_BLOCK, _GPU_BLOCK = 2**21, 2**27

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)


@dataclass(frozen=True)
class LeftOut:
    """Items that are left out of the softmax of a row.

    Attributes:
        rows: int64 [n], ascending.
        items: int64 [n].
    """

    rows: Tensor
    items: Tensor

    def among(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Indices into the scores of some rows."""
        edges = torch.tensor([rows.start, rows.stop], device=self.rows.device)
        first, last = torch.searchsorted(self.rows, edges).tolist()
        return self.rows[first:last] - rows.start, self.items[first:last]


class Scores:
    """States times item embeddings, times a scale, plus a bias for each item; multiplied out only when needed."""

    def __init__(
        self,
        states: Tensor,
        items: Tensor,
        precision: torch.dtype,
        bias: Tensor | None = None,
        scale: float = 1.0,
        left_out: LeftOut | None = None,
    ) -> None:
        self._states, self._items, self._precision, self._bias, self._scale = states, items, precision, bias, scale
        self._left_out = left_out

    def __add__(self, bias: Tensor) -> Any:
        """Keep a bias for each item (float [n_items]) as a factor; anything else multiplies out."""
        if self._bias is None and isinstance(bias, Tensor) and bias.shape == self._items.shape[:1]:
            return Scores(self._states, self._items, self._precision, bias, self._scale, self._left_out)
        return self.whole() + bias

    def __truediv__(self, divisor: Any) -> Any:
        """Keep a number as a factor; anything else multiplies out."""
        if self._bias is None and isinstance(divisor, int | float):
            return Scores(self._states, self._items, self._precision, None, self._scale / divisor, self._left_out)
        return self.whole() / divisor

    def view(self, *shape: int) -> Any:
        """Reshape [..., n_items] to [rows, n_items] without multiplying out; any other shape multiplies out."""
        if len(shape) == 2 and shape[1] == len(self._items):
            states = self._states.reshape(-1, self._states.shape[-1])
            return Scores(states, self._items, self._precision, self._bias, self._scale, self._left_out)
        return self.whole().view(*shape)

    def whole(self) -> Tensor:
        """The scores, multiplied out: float [..., n_items].

        Raises:
            RuntimeError: items are to be left out, which only the blockwise cross-entropy does.
        """
        if self._left_out is not None:
            raise RuntimeError("this model does not pass its scores straight to cross_entropy")
        scores = F.linear(self._states, self._items)  # not one of the intercepted products
        if self._scale != 1.0:
            scores = scores * self._scale
        return scores if self._bias is None else scores + self._bias

    def cross_entropy(self, targets: Tensor, reduction: str = "mean") -> Tensor:
        """The loss of `torch.nn.functional.cross_entropy` for scores float [n, n_items] and targets int64 [n]."""
        states = self._states if self._scale == 1.0 else self._states * self._scale
        function = _MeanCrossEntropy if reduction == "mean" else _CrossEntropy
        losses: Tensor = function.apply(  # type: ignore[no-untyped-call]
            states, self._items, self._bias, targets, self._precision, self._left_out
        )
        return losses

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole(), name)

    # Python looks up operators on the class, not by __getattr__.
    def __mul__(self, other: Any) -> Any:
        return self.whole() * other

    def __sub__(self, other: Any) -> Any:
        return self.whole() - other

    def __neg__(self) -> Any:
        return -self.whole()

    def __getitem__(self, index: Any) -> Any:
        return self.whole()[index]

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch when scores are an argument of one of its functions."""
        if function is F.cross_entropy:
            arguments = dict(zip(("input", "target"), args, strict=False)) | {
                # Without the defaults that the module CrossEntropyLoss passes.
                name: value
                for name, value in (kwargs or {}).items()
                if (name, value) not in (("ignore_index", -100), ("label_smoothing", 0.0)) and value is not None
            }
            scores, targets = arguments.pop("input"), arguments.pop("target")
            supported = arguments.keys() <= {"reduction"} and arguments.get("reduction") in (None, "mean", "none")
            if supported and scores._states.dim() == 2 and targets.dim() == 1:
                return scores.cross_entropy(targets, arguments.get("reduction", "mean"))
        return function(*map(_whole, args), **{name: _whole(value) for name, value in (kwargs or {}).items()})


class catalogue_softmax(TorchFunctionMode):  # noqa: N801 - used as a function: `with catalogue_softmax(n_items):`
    """Context manager inside which products with a matrix of at least `n_items` columns are kept as factors.

    Args:
        n_items: columns of a product with a whole catalogue.
        precision: of the matrix products; sums, exponentials and losses are always float32.
        left_out: items that are left out of the softmax of a row; never its target.
    """

    def __init__(self, n_items: int, precision: torch.dtype = torch.float32, left_out: LeftOut | None = None) -> None:
        super().__init__()
        self._n_items = n_items
        self._precision = precision
        self._left_out = left_out

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Intercept products with a whole catalogue; call any other function unchanged."""
        if function in _PRODUCTS and not kwargs and len(args) == 2:
            states, items = args
            if isinstance(items, Tensor) and items.dim() == 2 and items.shape[1] >= self._n_items:
                return Scores(states, items.T, self._precision, left_out=self._left_out)
        return function(*args, **(kwargs or {}))


def product_type(precision: str, device: str) -> torch.dtype:
    """The dtype of products on a device; bfloat16 becomes float32 where it would be emulated, which is slow.

    Args:
        precision: `float32` or `bfloat16`.
        device: `cpu` or `cuda`.
    """
    dtype: torch.dtype = getattr(torch, precision)
    return dtype if dtype is not torch.bfloat16 or has_bfloat16(device) else torch.float32


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, Scores) else value


class _MeanCrossEntropy(torch.autograd.Function):
    """The mean loss over rows: float []. Its gradients are known up to a factor, and computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        precision: torch.dtype,
        left_out: LeftOut | None,
    ) -> Tensor:
        blocks = _Blocks(states, items, bias, precision, left_out)
        weight = states.new_tensor(1 / len(states))
        losses = [blocks.add_gradients(rows, targets[rows], weight) for rows in blocks.rows]
        ctx.save_for_backward(*blocks.gradients)
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if gradient is None else gradient * upstream[0] for gradient in ctx.saved_tensors)
        return *gradients, None, None, None


class _CrossEntropy(torch.autograd.Function):
    """The loss of each row: float [n]. Scores are computed again in the backward pass.

    RecBole's item 0 is padding. Models that use the loss of each row weight padding rows by 0 (most rows of BERT4Rec),
    so their loss is not computed: it is 0 here. If a model does count them, the backward pass raises an error.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        precision: torch.dtype,
        left_out: LeftOut | None,
    ) -> Tensor:
        if left_out is not None:
            raise NotImplementedError("items are left out of mean losses only")
        ctx.save_for_backward(states, items, bias, targets)
        ctx.precision = precision
        counted = targets != 0
        blocks, counted_targets = _Blocks(states[counted], items, bias, precision), targets[counted]
        block_losses = (blocks.losses(rows, counted_targets[rows]) for rows in blocks.rows)
        losses = states.new_zeros(len(states))
        losses[counted] = torch.cat([states.new_zeros(0), *block_losses])
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        states, items, bias, targets = ctx.saved_tensors
        weights = upstream[0]
        counted = weights != 0
        if (targets[counted] == 0).any():
            raise RuntimeError("this model counts the loss of padding, which blockwise cross-entropy leaves out")
        blocks = _Blocks(states[counted], items, bias, ctx.precision)
        counted_targets, weights = targets[counted], weights[counted]
        for rows in blocks.rows:
            blocks.add_gradients(rows, counted_targets[rows], weights[rows, None])
        of_states, *others = blocks.gradients
        return states.new_zeros(states.shape).masked_scatter(counted[:, None], of_states), *others, None, None, None


class _Blocks:
    """Computes scores block by block, and accumulates the gradients of a weighted sum of losses."""

    def __init__(
        self,
        states: Tensor,
        items: Tensor,
        bias: Tensor | None,
        precision: torch.dtype,
        left_out: LeftOut | None = None,
    ) -> None:
        self._bias, self._left_out = bias, left_out
        # Scores and their exponentials have this precision, sums over them do not.
        self._states, self._items = states.to(precision), items.to(precision)
        self.gradients = (
            torch.zeros_like(states),
            torch.zeros_like(items),
            bias if bias is None else torch.zeros_like(bias),
        )
        size = max(16, (_CPU_BLOCK if states.device.type == "cpu" else _GPU_BLOCK) // len(items))
        self.rows = [slice(start, min(start + size, len(states))) for start in range(0, len(states), size)]

    def losses(self, rows: slice, targets: Tensor) -> Tensor:
        """The losses of some rows: float [n]."""
        return self._exponentials(rows, targets)[2]

    def add_gradients(self, rows: slice, targets: Tensor, weights: Tensor) -> Tensor:
        """Add the weighted gradients of some rows; returns the rows' losses: float [n]."""
        exponentials, total, losses = self._exponentials(rows, targets)
        # d loss / d score = probability - [item is the target]. Probabilities are exponentials over their total; the
        # other factor of each product is divided by the total, which saves a pass over the whole block.
        share = weights / total[:, None]
        of_states, of_items, of_bias = self.gradients
        precision, full = self._items.dtype, of_items.dtype
        states, target_items = self._states[rows].to(full), self._items[targets].to(full)
        # Scaled by the mean share, as small numbers lose digits in a low precision.
        scale = share.abs().mean()
        of_states[rows] = torch.mm(exponentials, self._items).to(full) * share - target_items * weights
        products = torch.mm(exponentials.T, (states * (share / scale)).to(precision))
        of_items.add_(products, alpha=float(scale))
        of_items.index_add_(0, targets, states * -weights)
        if of_bias is not None:
            of_bias += torch.mv(exponentials.T.to(full), share[:, 0])
            of_bias.index_add_(0, targets, -weights.expand(len(targets), 1)[:, 0])
        return losses

    def _exponentials(self, rows: slice, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """exp(score - the row's highest), [n, n_items]; their totals, float [n]; the losses, float [n]."""
        scores = torch.mm(self._states[rows], self._items.T)
        if self._bias is not None:
            scores += self._bias.to(scores.dtype)
        if self._left_out is not None:
            scores[self._left_out.among(rows)] = -torch.inf
        highest = scores.amax(dim=1, keepdim=True)
        scores -= highest
        target_scores = scores.gather(1, targets[:, None])[:, 0].to(self.gradients[0].dtype)
        exponentials = scores.exp_()
        total = exponentials.sum(dim=1, dtype=self.gradients[0].dtype)
        return exponentials, total, total.log() - target_scores
