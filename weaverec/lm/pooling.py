"""How the hidden states of a text become its vector: pooling, normalisation and prompts.

A sentence-transformers folder says this in its own files: `modules.json` lists the modules, the pooling module's
`config.json` the mode, and `config_sentence_transformers.json` the prompts. A folder without these files has the
defaults: an encoder's states are averaged, a decoder-only model's last one is taken, and vectors have unit length.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F

from harness.errors import HarnessError

#: From the last hidden states of a batch [n, width, d] and its mask [n, width] of 0 and 1 to vectors [n, d]. Padding
#: comes after the tokens.
Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Mode = Literal["mean", "cls", "last"]

#: What sentence-transformers calls the modes that are supported here.
_MODES: Mapping[str, Mode] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}

#: What prompts are called in models' own files.
_QUERY, _PASSAGE = ("query",), ("passage", "document")


@dataclass(frozen=True)
class Pooling:
    """How the hidden states of a text become its vector.

    Attributes:
        mode: the mean over all tokens, the state of the first (`cls`), or that of the last.
        unit_length: whether vectors are scaled to unit length.
        query: what stands before a history that is read as one text, such as `query: `.
        passage: what stands before an item's text, such as `passage: `.
        is_default: whether this is what a folder without sentence-transformers files has.
    """

    mode: Mode
    unit_length: bool = True
    query: str = ""
    passage: str = ""
    is_default: bool = True

    def __str__(self) -> str:
        """A description for results, such as `cls, unit length, passage prompt 'passage: '`."""
        parts = [self.mode, "unit length" if self.unit_length else "any length"]
        parts += [
            f"{name} prompt {prompt!r}" for name, prompt in (("query", self.query), ("passage", self.passage)) if prompt
        ]
        return ", ".join(parts)


def read_pooling(folder: Path, decoder_only: bool) -> Pooling:
    """The pooling of a model by the sentence-transformers files in its folder, or the default without them.

    Args:
        folder: of the model.
        decoder_only: whether it is a decoder-only model, whose default is the last token.

    Raises:
        HarnessError: the files cannot be read, or ask for what is not supported.
    """
    default = Pooling("last" if decoder_only else "mean")
    if not (folder / "modules.json").is_file():
        return default
    modules = _modules(folder / "modules.json")
    unsupported = sorted(modules.keys() - {"Transformer", "Pooling", "Normalize"})
    if unsupported:
        raise HarnessError(
            f"{folder / 'modules.json'}: the module {unsupported[0]} is not supported.",
            "Use a backbone with the modules Transformer, Pooling and Normalize.",
        )
    mode = _mode(folder / modules["Pooling"] / "config.json") if "Pooling" in modules else default.mode
    path = folder / "config_sentence_transformers.json"
    config = _mapping(path) if path.is_file() else {}
    similarity = config.get("similarity_fn_name") or "cosine"  # as sentence-transformers takes it
    if similarity not in ("cosine", "dot"):
        raise HarnessError(
            f"{path}: the similarity {similarity!r} is not supported.", "Use a backbone with cosine or dot."
        )
    prompts = {str(name): str(text) for name, text in (config.get("prompts") or {}).items()}
    standard = prompts.get(str(config.get("default_prompt_name")), "")
    pooling = Pooling(
        mode,
        "Normalize" in modules or similarity == "cosine",
        _first(prompts, _QUERY, standard),
        _first(prompts, _PASSAGE, standard),
    )
    return Pooling(pooling.mode, pooling.unit_length, pooling.query, pooling.passage, pooling == default)


def _mode(path: Path) -> Mode:
    config = _mapping(path)
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise HarnessError(
            f"{path}: the pooling {' + '.join(modes) or '(none)'} is not supported.",
            f"Use a backbone with one of {', '.join(_MODES)}.",
        )
    if not config.get("include_prompt", True):
        raise HarnessError(
            f"{path}: pooling without the prompt is not supported.", "Use a backbone with include_prompt."
        )
    return _MODES[modes[0]]


def _first(prompts: Mapping[str, str], names: tuple[str, ...], otherwise: str) -> str:
    return next((prompts[name] for name in names if name in prompts), otherwise)


def _modules(path: Path) -> dict[str, str]:
    """The modules of a sentence-transformers folder: kind -> subfolder."""
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        return {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unreadable(path, error) from error


def _mapping(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> HarnessError:
    return HarnessError(f"{path} cannot be read: {type(error).__name__}: {error}.", "Fetch the model again.")


def pool_packed(states: torch.Tensor, lengths: Sequence[int], mode: Mode) -> torch.Tensor:
    """The vectors of texts that were read as one row: float [n, d].

    Args:
        states: float [total, d], the last hidden states of all tokens.
        lengths: tokens of each of the n texts.
        mode: of the pooling.
    """
    ends = torch.tensor(lengths, device=states.device).cumsum(0)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    if mode == "mean":
        rows = torch.arange(len(states), device=states.device)
        return F.embedding_bag(rows, states.float(), starts, mode="mean")
    return states[starts if mode == "cls" else ends - 1]


def pool(mode: Mode) -> Pool:
    """The function of a mode."""
    return {"mean": _mean, "cls": _cls, "last": _last}[mode]


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.to(states.device).unsqueeze(-1).float()
    return (states.float() * weights).sum(1) / weights.sum(1)


def _cls(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # noqa: ARG001 - the first is never padding
    return states[:, 0]


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[torch.arange(len(states)), mask.sum(1) - 1]
