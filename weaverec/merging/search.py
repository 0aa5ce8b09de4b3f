"""Choosing a merging rule's parameters: on the target's validation events, or by the entropy of its predictions."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.evaluation.rank import validation_ndcg
from harness.methods.artefact import Artefact, Artefacts, MakeContext
from harness.protocol.split import DomainTraining
from harness.storage.code_identity import bound_values
from harness.training.record import TrainingRecord
from weaverec.lm.backbone import Backbone, autocast_bf16, load
from weaverec.merging.rules import Parameters, Rule
from weaverec.merging.task_vectors import TaskVector, by_layer, folded, task_vector
from weaverec.retriever.encoding import history_encoder, retriever
from weaverec.retriever.sampled_softmax import scattered, softmax_entropy, step_items, user_shares
from weaverec.retriever.train import ComponentSettings

#: On a device (`cpu` or `cuda`): the base model there, and its NDCG@10 on the target's validation events as it stands.
Opened = Callable[[str], tuple[nn.Module, Callable[[], float]]]

_FILE = "merge.json"

#: Steps, users a step and learning rate of entropy minimisation.
_STEPS, _USERS, _RATE = 20, 64, 0.05


def merged_by(
    rule: Rule,
    components: Sequence[Artefact],
    target: DomainTraining,
    opened: Opened,
    artefacts: Artefacts,
) -> TaskVector:
    """What a rule makes of some components; where it has a choice, the best by the target's validation.

    Args:
        rule: the rule.
        components: what is merged.
        target: the domain that is served.
        opened: the base model, and its validation on the target by the head that it serves with.
        artefacts: where components come from, and what was chosen is kept.
    """
    folders = [artefacts.get_or_train(component) for component in components]
    vectors = [task_vector(folder) for folder in folders]
    choices = rule.choices(len(vectors))
    if len(choices) == 1:
        return rule.apply(vectors, choices[0])
    tried = chosen_by_validation(rule, components, folders, target, opened)
    return rule.apply(vectors, read_choice(artefacts.get_or_train(tried)))


def chosen_by_validation(
    rule: Rule,
    components: Sequence[Artefact],
    folders: Sequence[Path],
    target: DomainTraining,
    opened: Opened,
) -> Artefact:
    """The artefact of a rule's parameters, the best of its choices by the target's validation NDCG@10.

    Args:
        rule: a rule with several choices.
        components: what is merged; how they serve is among their inputs, and so in the key.
        folders: where the components are, in that order.
        target: the domain that is served; ties go to the earlier choice.
        opened: the base model, and its validation on the target.
    """
    choices = rule.choices(len(folders))
    return Artefact(
        kind="merge",
        label=f"{rule.name} for {target.name}: {_names(components)}",
        inputs={
            "rule": rule.name,
            # Parameters that its functions carry, of a rule made by a function of somebody's.
            "holds": bound_values([rule.apply, rule.choices]),
            "choices": [dict(choice) for choice in choices],
            "target": target.identity,
        },
        make=partial(_try_all, rule, choices, list(folders), opened),
        made_from=tuple(components),
    )


def chosen_by_entropy(
    components: Sequence[Artefact],
    folders: Sequence[Path],
    target: DomainTraining,
    backbone: Backbone,
    settings: ComponentSettings,
    seed: int,
) -> Artefact:
    """The artefact of weights for each layer that make predictions for the target's users the surest.

    Yang et al., "AdaMerging", ICLR 2024: the entropy of the softmax over the catalogue, mean over users, is minimised
    over weights of each layer; no label is read. Of a large catalogue the entropy is estimated, as the loss is in
    training. Here a layer's weights are a softmax, so that they stay on the simplex, as in the WeaveRec authors' code;
    they start equal, and the histories are those of training.
    """
    return Artefact(
        kind="merge",
        label=f"weights by entropy for {target.name}: {_names(components)}",
        inputs={
            "rule": "entropy",
            "steps": [_STEPS, _USERS, _RATE],
            "target": target.identity,
            "seed": seed,
        },
        make=partial(_minimise_entropy, list(folders), target, backbone, settings, seed),
        made_from=tuple(components),
    )


def _names(components: Sequence[Artefact]) -> str:
    return "; ".join(component.label for component in components)


def read_choice(folder: Path) -> Any:
    """The parameters that were chosen."""
    return json.loads((folder / _FILE).read_text(encoding="utf-8"))["chosen"]


def _try_all(
    rule: Rule,
    choices: list[Parameters],
    folders: list[Path],
    opened: Opened,
    folder: Path,
    making: MakeContext,
) -> TrainingRecord:
    model, validate = opened(making.device)
    vectors = [task_vector(path) for path in folders]
    scores = []
    for number, choice in enumerate(choices, start=1):
        with folded(model, rule.apply(vectors, choice)):
            scores.append(validate())
        making.report(number, len(choices))
    best = scores.index(max(scores))
    _write(folder, choices[best])
    notes = {"rule": rule.name, "chosen": dict(choices[best]), "tried": [dict(choice) for choice in choices]}
    return TrainingRecord(tuple(scores), 0, 0, 0, notes)


def _minimise_entropy(
    folders: list[Path],
    target: DomainTraining,
    backbone: Backbone,
    settings: ComponentSettings,
    seed: int,
    folder: Path,
    making: MakeContext,
) -> TrainingRecord:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, tokenizer = load(backbone)
    model.to(making.device)
    reading = history_encoder(backbone, target.catalogue, tokenizer, settings.retriever)
    vectors = [task_vector(path) for path in folders]
    layers = list(vectors[0])
    base = {name: parameter.detach() for name, parameter in model.named_parameters() if name in vectors[0]}
    stacked = {layer: torch.stack([vector[layer] for vector in vectors]).to(making.device) for layer in layers}
    logits = torch.zeros(len(layers), len(folders), device=making.device, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=_RATE)
    users = np.flatnonzero(target.train.lengths > 1)
    shares_of_users = user_shares(reading, target.train, users)
    entropies = []
    for step in range(_STEPS):
        own = target.train.select(rng.choice(users, min(_USERS, len(users)), replace=False))
        shares = torch.softmax(logits, dim=1)
        merged = {
            layer: base[layer] + torch.einsum("i,ijk->jk", shares[row], stacked[layer])
            for row, layer in enumerate(layers)
        }
        # Of a catalogue that is too large, a sample stands for it, as in training.
        drawn = step_items(reading.required_items(own), shares_of_users, len(own), settings.items, rng)
        with autocast_bf16(making.device):
            served = _With(model, merged)
            fresh = reading.items(served, drawn.items).float()
            histories = reading.histories(served, own, scattered(fresh, drawn.items, len(reading)))
        entropy = softmax_entropy(histories, own, drawn, fresh, settings.temperature)
        optimiser.zero_grad()
        entropy.backward()
        optimiser.step()
        entropies.append(float(entropy.detach()))
        making.report(step + 1, _STEPS)
    weights = _weights(logits, layers)
    _write(folder, weights)
    with folded(model, by_layer(vectors, weights)), autocast_bf16(making.device):
        score = validation_ndcg(retriever(model, reading), target)
    mean = np.mean(list(weights.values()), axis=0).tolist()
    notes = {"rule": "entropy", "entropy_in_nats": entropies, "largest_possible": math.log(len(reading)), "mean": mean}
    return TrainingRecord((score,), _STEPS, _STEPS, logits.numel(), notes)


class _With(nn.Module):
    """A model that computes with other weights, differentiable in them."""

    def __init__(self, model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._model, self._weights = model, weights
        self.config = model.config

    def forward(self, **inputs: torch.Tensor) -> Any:
        """What the model gives with these weights."""
        return torch.func.functional_call(self._model, self._weights, (), inputs)


def _weights(logits: torch.Tensor, layers: list[str]) -> dict[str, list[float]]:
    shares = torch.softmax(logits.detach(), dim=1).cpu()
    return {layer: shares[row].tolist() for row, layer in enumerate(layers)}


def _write(folder: Path, chosen: Any) -> None:
    (folder / _FILE).write_text(json.dumps({"chosen": chosen}, indent=1), encoding="utf-8")
