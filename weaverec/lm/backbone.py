"""The pre-trained language model under every language-model method: an encoder, or a decoder-only model."""

import difflib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from logging import CRITICAL
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from harness.errors import HarnessError, UnavailableError
from harness.storage.files import digest, file_digest
from harness.training.device import has_bfloat16
from weaverec.lm.pooling import Pooling, read_pooling

#: The default backbone, which is installed with the harness.
PACKAGED = "minilm"

#: What a model is loaded for: its hidden states, or its next tokens.
Head = Literal["states", "tokens"]


@dataclass(frozen=True)
class Backbone:
    """A transformers model in a local folder.

    Attributes:
        name: its public name, which adapters trained on it carry.
        folder: of its files.
    """

    name: str
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its files: weights, configuration, tokenizer, chat template, and its pooling."""
        pooling = self.pooling
        return _files_digest(self.folder, "" if pooling.is_default else str(pooling))

    @property
    def pooling(self) -> Pooling:
        """How its hidden states become vectors, by its sentence-transformers files or by default.

        Raises:
            HarnessError: see `weaverec.lm.pooling.read_pooling`.
        """
        return read_pooling(self.folder, self.decoder_only)

    def check(self, head: Head = "states") -> None:
        """Check that it can be loaded whole, without reading its weights: they may be many GB.

        Raises:
            HarnessError: a file is missing or damaged, weights are missing, or it is no model of this kind.
        """
        _check(self, head)

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
            raise _unfit(
                self, "has no readable config.json", "Give the folder of a transformers model, or fetch it again."
            ) from error
        from transformers.models.auto import modeling_auto as known

        # Models that fill in masked words are encoders, although transformers can load some of them as decoders.
        if not config.get("is_encoder_decoder"):
            if kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
                return False
            if kind in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
                return True
        raise HarnessError(
            f"The backbone {self.name} is of the kind {kind!r}, neither an encoder nor a decoder-only model.",
            "Use another backbone.",
        )


def find_backbone(name: str, start: Path = Path()) -> Backbone:
    """A backbone: a packaged one such as `minilm` or `smollm2`, a folder, or a model in the Hugging Face cache.

    Nothing is downloaded. Fetch a model with `hf download`, which checks hashes.

    Args:
        name: the backbone's name or folder; for packaged ones see `weaverec.lm.packaged.PACKAGED_MODELS`.
        start: the folder that relative paths start from.

    Raises:
        HarnessError: there is no such folder, and it cannot be the name of a model.
        UnavailableError: the model is not on this machine.
    """
    from weaverec.lm.packaged import PACKAGED_MODELS, packaged_folder

    if name in PACKAGED_MODELS:
        return Backbone(PACKAGED_MODELS[name].name, packaged_folder(name))
    folder = start / Path(name).expanduser()
    if folder.is_dir():
        return Backbone(folder.resolve().name, folder)
    near = difflib.get_close_matches(name.lower(), PACKAGED_MODELS, n=1, cutoff=0.7)
    if near or folder.is_file() or name.startswith((".", "/", "~")):
        raise HarnessError(
            f"The backbone {name!r} is no folder: {folder}.",
            f"Did you mean {near[0]!r}?" if near else "Give the folder of the model; a path starts from its suite.",
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    what = f"The backbone {name!r} is neither {' nor '.join(map(repr, PACKAGED_MODELS))}, nor the folder {folder}"
    try:
        return Backbone(name, Path(snapshot_download(name, local_files_only=True)))
    except HFValidationError as error:
        raise HarnessError(f"{what}, nor a model's name.", "Correct its name or path.") from error
    except LocalEntryNotFoundError as error:
        raise UnavailableError(
            f"{what}, nor a model in the Hugging Face cache.",
            f"Fetch it first, where there is a network: hf download {name}. "
            "For a plan, add: --exclude '*.safetensors'.",
        ) from error


def load(backbone: Backbone, head: Head = "states", dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    """The model, frozen, without dropout, and its tokenizer. Reads local safetensors only, and runs no code of theirs.

    Dropout stays off in training as well: drawing its masks takes a third of the time on a CPU, and over the few dozen
    steps of an adapter it did not improve validation.

    Args:
        backbone: which model.
        head: `states` for hidden states, `tokens` for next-token logits.
        dtype: of the weights.

    Raises:
        HarnessError: see `Backbone.check`.
    """
    backbone.check(head)
    # No network access, and no telemetry.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
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
            "Use a backbone of a kind that transformers supports.",
        )
    return HarnessError(f"Cannot load the backbone {backbone.name} from {backbone.folder}: {error}.", "Fetch it again.")


@cache
def _check(backbone: Backbone, head: Head) -> None:
    if (backbone.folder / "adapter_config.json").is_file():
        raise _unfit(backbone, "is an adapter, no model", "Merge it into its model, and give the folder of that.")
    decoder_only = backbone.decoder_only
    if head == "tokens" and not decoder_only:
        raise HarnessError(
            f"The backbone {backbone.name} is an encoder: it writes no text.",
            "Use a decoder-only model such as Qwen/Qwen2-7B-Instruct.",
        )
    for path in _weight_files(backbone):
        _check_weight_file(backbone, path)
    embedded = _check_whole(backbone, head)
    tokenizer = load_tokenizer(backbone)
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    # Without one of them, transformers makes a tokenizer with an empty vocabulary.
    if not any((backbone.folder / name).is_file() for name in files):
        raise _unfit(backbone, f"has no tokenizer ({' or '.join(sorted(files))})", "Fetch it again, or save it there.")
    # Special tokens beyond these are never used.
    tokens = max(tokenizer.vocab_size, tokenizer.pad_token_id + 1)
    if tokens > embedded:
        raise _unfit(
            backbone,
            f"has a tokenizer of {tokens:,} tokens, and embeddings of {embedded:,}",
            "Save the tokenizer there that the model was trained with.",
        )
    _ = backbone.pooling  # raises if its files ask for what is not supported


def _weight_files(backbone: Backbone) -> list[Path]:
    """The safetensors files that transformers would load: one, or the parts that an index names."""
    folder = backbone.folder
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            parts = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unfit(backbone, f"has an {index.name} that cannot be read", "Fetch it again.") from error
        missing = [name for name in parts if not (folder / name).is_file()]
        if missing:
            raise _unfit(backbone, f"has no weights {', '.join(missing)}", f"Fetch them: hf download {backbone.name}.")
        return [folder / name for name in parts]
    pickled = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(kind))
    if pickled:
        raise _unfit(
            backbone,
            f"has its weights as pickle only ({pickled[0]}), which can run code when it is read",
            "Save them as safetensors: model.save_pretrained(folder) of transformers does.",
        )
    raise _unfit(backbone, "has no weights (model.safetensors)", f"Fetch them: hf download {backbone.name}.")


def _check_weight_file(backbone: Backbone, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):  # reads the header, and compares it with the length of the file
            pass
    except (OSError, SafetensorError) as error:
        raise _unfit(backbone, f"has a damaged or truncated {path.name} ({error})", "Fetch it again.") from error


def _check_whole(backbone: Backbone, head: Head) -> int:
    """Load the model on the meta device, where tensors have shapes and no values.

    Returns:
        The number of tokens that have an embedding.
    """
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)  # what it would report is an error below
    logging.disable_progress_bar()
    try:
        kind: Any = AutoModelForCausalLM if head == "tokens" else AutoModel
        model, report = kind.from_pretrained(
            backbone.folder,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # an error below, with their names
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise _unreadable(backbone, error) from error
        # Transformers raises errors of any kind on damaged files.
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise _unfit(backbone, f"cannot be loaded ({reason})", "Fetch it again, or use another.") from error
    finally:
        logging.set_verbosity(verbosity)
    if model.config.is_encoder_decoder:
        raise _unfit(backbone, "is an encoder-decoder", "Use an encoder or a decoder-only model.")
    # BERT's pooler, an extra layer on the first token, is not used here.
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    misshapen = sorted(str(name) for name, *_ in report["mismatched_keys"])
    for names, what in ((missing, "lacks"), (misshapen, "has, in another shape than its config.json says,")):
        if names:
            raise _unfit(
                backbone,
                f"{what} {len(names)} of the model's weights, such as {names[0]}, which would be random",
                "Fetch it again, or save it whole.",
            )
    return int(model.get_input_embeddings().num_embeddings)


def _unfit(backbone: Backbone, what: str, hint: str) -> HarnessError:
    return HarnessError(f"The backbone {backbone.name} in {backbone.folder} {what}.", hint)


@dataclass(frozen=True)
class Sizes:
    """How large a model is.

    Attributes:
        weights: how many it has.
        multiplied: how many multiply every token: all but the embeddings.
        layers: of the transformer.
        hidden: size of a hidden state.
        vocabulary: number of tokens.
    """

    weights: int
    multiplied: int
    layers: int
    hidden: int
    vocabulary: int


@cache
def sizes_of(backbone: Backbone, head: Head = "states") -> Sizes:
    """How large a backbone is, by its configuration: its weights need not be present.

    Raises:
        HarnessError: the configuration is missing, or unknown.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(backbone.folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):  # shapes without values
            kind: Any = AutoModelForCausalLM if head == "tokens" else AutoModel
            model = kind.from_config(config, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unreadable(backbone, error) from error
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    multiplied = sum(size for name, size in sizes.items() if "embed" not in name)
    return Sizes(sum(sizes.values()), multiplied, config.num_hidden_layers, config.hidden_size, config.vocab_size)


@contextmanager
def autocast_bf16(device: str) -> Iterator[None]:
    """Compute matrix products in bfloat16 where the device has it in hardware."""
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device)):
        yield


@cache
def _files_digest(folder: Path, pooling: str) -> str:
    kinds = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
    files = sorted({path for kind in kinds for path in folder.glob(kind)})
    parts = [[path.name, file_digest(path)] for path in files]
    return digest([*parts, ["pooling", pooling]] if pooling else parts)
