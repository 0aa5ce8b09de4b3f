"""How an exported ranker scores: files in its folder that say so, and the scorer made from them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.data.domain import Catalogue
from harness.errors import HarnessError
from harness.methods.recommender import write_recipe
from weaverec.lm.backbone import Backbone, find_backbone, load
from weaverec.lm.packaged import PACKAGED_MODELS
from weaverec.ranker.prompt import PromptSettings, system_message, user_message
from weaverec.ranker.scorer import Ranker
from weaverec.ranker.train import RankerSettings, make_ranker, weights_dtype

_CARD = """
## How it scores

A prompt in the model's chat template shows the latest {history} items of the history, fewer where they do not fit
{max_tokens} tokens{offered}. Titles are cut at {title_tokens} tokens. The system message:

> {task}

The user's message:

```
{shown}
```

{answer} Of a whole catalogue, the candidates are the {candidates} best of the retriever `{retriever}`, untrained.

With cdsr-harness, in this folder:

```sh
harness recommend --model . --catalogue items.csv --history "an item" "a later item"
```
"""

_LIKELIHOOD = (
    "A candidate's score is the mean log-probability of its title's tokens, with the line break, as the answer's first "
    "line."
)
_LIST = "The model writes {answers} titles, greedily; that is the ranking."


def write_files(folder: Path, settings: RankerSettings, finder: Backbone, seed: int) -> str:
    """Write how a ranker scores into its folder, for `harness recommend`.

    Args:
        folder: of the exported model.
        settings: of the ranker.
        finder: the backbone that finds its candidates in a whole catalogue.
        seed: of the order of candidates.

    Returns:
        A section of the model card.
    """
    name = settings.retriever_backbone
    write_recipe(
        folder,
        "ranker",
        prompt=asdict(settings.prompt),
        by_list=settings.by_list,
        weights=settings.weights,
        most_tokens=settings.most_tokens,
        # A path in a suite starts from the suite's folder.
        retriever={"name": name if name in PACKAGED_MODELS else str(finder.folder.resolve()), "sha256": finder.digest},
        seed=seed,
    )
    _write_older_names(folder)
    prompt = settings.prompt
    answer = _LIST.format(answers=prompt.answers) if settings.by_list else _LIKELIHOOD
    titles = ["(a title)", "(a later title)"]
    return _CARD.format(
        **asdict(prompt),
        offered=f", and up to {prompt.candidates} shuffled candidates" if prompt.listed else "",
        task=system_message(prompt),
        shown=user_message(titles, titles, prompt),
        answer=answer,
        retriever=finder.name,
    )


def _write_older_names(folder: Path) -> None:
    """Repeat in JSON files what transformers 4 reads under other names: vLLM and llama.cpp may use it.

    Without `rope_theta`, transformers 4 takes 10,000 whatever the model was trained with; without `torch_dtype`, vLLM
    casts to float16. It does not know the tokenizer class that transformers 5 writes for a plain tokenizer.json, and
    before 4.49 it reads chat templates from tokenizer_config.json only.
    """
    config = _read_json(folder / "config.json")
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {name: value for name, value in rope.items() if name != "rope_theta"}
    config["torch_dtype"] = config["dtype"]
    tokenizer = _read_json(folder / "tokenizer_config.json")
    if tokenizer["tokenizer_class"] == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    template = folder / "chat_template.jinja"
    if template.is_file():
        tokenizer["chat_template"] = template.read_text(encoding="utf-8")
    for name, content in {"config.json": config, "tokenizer_config.json": tokenizer}.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def scorer(folder: Path, recipe: Mapping[str, Any], catalogue: Catalogue, device: str) -> Ranker:
    """The scorer of an exported ranker.

    Raises:
        HarnessError: the retriever that finds its candidates is another than when the model was exported.
    """
    finder = find_backbone(recipe["retriever"]["name"])
    if finder.digest != recipe["retriever"]["sha256"]:
        raise HarnessError(
            f"The retriever {finder.name} in {finder.folder} is not the one that {folder} was exported with.",
            "Restore its files, or export the model again.",
        )
    settings = RankerSettings(
        prompt=PromptSettings(**recipe["prompt"]), weights=recipe["weights"], most_tokens=recipe["most_tokens"]
    )
    model, tokenizer = load(Backbone(folder.resolve().name, folder), "tokens", weights_dtype(settings))
    model = model.to(device)
    return make_ranker(model, tokenizer, catalogue, settings, recipe["seed"], device, finder, recipe["by_list"])
