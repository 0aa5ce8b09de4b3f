"""How an exported retriever scores: files in its folder that say so, and the scorer made from them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.data.domain import Catalogue
from harness.methods.api import DotProduct
from harness.methods.recommender import write_recipe
from weaverec.lm.backbone import Backbone, load, load_tokenizer, sizes_of
from weaverec.lm.pooling import Pooling
from weaverec.retriever.encoding import RetrieverSettings, history_encoder, retriever

_POOLED = {
    "mean": "the mean of the last hidden states",
    "cls": "the last hidden state of the first token",
    "last": "the last hidden state of the last token",
}

_MODES = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}

_CARD = """
## How it scores

- An item's vector: {item}
- A history's vector: {history}
- Score: the dot product of the two. Items of the history are left out.

With cdsr-harness, in this folder:

```sh
harness recommend --model . --catalogue items.csv --history "an item" "a later item"
```

The items' vectors with sentence-transformers:

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer(".").encode({texts}{prompt})
```
"""


def write_files(folder: Path, backbone: Backbone, settings: RetrieverSettings) -> str:
    """Write how a retriever scores into its folder: for `harness recommend`, and for sentence-transformers.

    Args:
        folder: of the exported model.
        backbone: its base.
        settings: how texts become vectors.

    Returns:
        A section of the model card.
    """
    pooling = backbone.pooling
    joined = backbone.decoder_only and pooling.mode == "last"
    write_recipe(folder, "retriever", settings=asdict(settings))
    if joined:
        most_tokens = settings.history * (settings.max_tokens + 2)
    else:
        passage = load_tokenizer(backbone)(pooling.passage, add_special_tokens=False)["input_ids"]
        most_tokens = settings.max_tokens + len(passage)
    _write_sentence_transformers(folder, pooling, most_tokens, sizes_of(backbone).hidden)
    return _card(pooling, settings, joined)


def scorer(folder: Path, recipe: Mapping[str, Any], catalogue: Catalogue, device: str) -> DotProduct:
    """The scorer of an exported retriever; encodes the catalogue."""
    backbone = Backbone(folder.resolve().name, folder)
    model, tokenizer = load(backbone)
    settings = RetrieverSettings(**recipe["settings"])
    return retriever(model.to(device), history_encoder(backbone, catalogue, tokenizer, settings))


def _write_sentence_transformers(folder: Path, pooling: Pooling, most_tokens: int, size: int) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = modules if pooling.unit_length else modules[:-1]
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            **{name: mode == pooling.mode for mode, name in _MODES.items()},
            "include_prompt": True,
        },
        "sentence_bert_config.json": {"max_seq_length": most_tokens, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": {"query": pooling.query, "passage": pooling.passage},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine" if pooling.unit_length else "dot",
        },
    }
    for path, _ in modules[1:]:
        (folder / path).mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _card(pooling: Pooling, settings: RetrieverSettings, joined: bool) -> str:
    def after(prompt: str) -> str:
        return f"after `{prompt}`, " if prompt else ""

    end = " and a line break" if joined else ""
    length = ", at unit length" if pooling.unit_length else ""
    item = (
        f"{after(pooling.passage)}its text, cut at {settings.max_tokens} tokens,{end}: {_POOLED[pooling.mode]}{length}."
    )
    if joined:
        history = (
            f"{after(pooling.query)}the texts of its latest {settings.history} items, oldest first, cut likewise, each "
            "with a line break, as one text; then as for an item."
        )
    else:
        history = (
            f"the sum of the vectors of its latest {settings.history} items, at unit length. The latest weighs 1, and "
            f"each earlier one {settings.decay:g} times as much as the next."
        )
    texts = '[text + "\\n" for text in texts]' if joined else "texts"
    prompt = ', prompt_name="passage"' if pooling.passage else ""
    return _CARD.format(item=item, history=history, texts=texts, prompt=prompt)
