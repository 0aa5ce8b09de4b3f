"""Scorers made from folders of exported models."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.data.domain import Catalogue
from harness.errors import HarnessError
from harness.extensions import RECOMMENDERS, extensions, load_extension
from harness.methods.api import Scorer

#: In an exported folder: how the model scores. Its `kind` is the name of an entry point in `cdsr_harness.recommenders`.
RECIPE = "recommender.json"

#: Makes a scorer of a catalogue from a folder, the content of its recipe, and a device.
ScorerOfFolder = Callable[[Path, Mapping[str, Any], Catalogue, str], Scorer]


def write_recipe(folder: Path, kind: str, **content: Any) -> None:
    """Write how an exported model scores into its folder."""
    text = json.dumps({"kind": kind, **content}, indent=2, ensure_ascii=False)
    (folder / RECIPE).write_text(text + "\n", encoding="utf-8")


def load_scorer(folder: Path, catalogue: Catalogue, device: str = "cpu") -> Scorer:
    """The scorer of an exported model.

    Args:
        folder: what `harness export` wrote.
        catalogue: the items to score.
        device: `cpu` or `cuda`.

    Raises:
        HarnessError: the folder is none that `harness export` wrote, or something in it is damaged.
        UnavailableError: the model needs something that is not on this machine.
    """
    path = folder / RECIPE
    try:
        recipe = dict(json.loads(path.read_text(encoding="utf-8")))
        kind = str(recipe["kind"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise HarnessError(
            f"{path} is missing, or is no recipe.", "Give a folder that harness export wrote, or export it again."
        ) from error
    known = extensions(RECOMMENDERS)
    if kind not in known:
        raise HarnessError.unknown(f"kind of model in {path}:", kind, known)
    make: ScorerOfFolder = load_extension(known[kind])
    try:
        return make(folder, recipe, catalogue, device)
    except (LookupError, TypeError) as error:
        raise HarnessError(f"{path} lacks something: {error}.", "Export the model again.") from error
