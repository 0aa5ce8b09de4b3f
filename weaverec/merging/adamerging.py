"""AdaMerging: layer-wise merge weights that minimise prediction entropy.

Yang et al., "AdaMerging: Adaptive Model Merging for Multi-Task Learning", ICLR 2024.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from harness.errors import HarnessError
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.artefact import Artefact, MakeContext
from harness.training.record import TrainingRecord
from weaverec.lm.backbone import autocast_bf16
from weaverec.merging.api import Component, MergeContext
from weaverec.merging.search import (
    component_artefacts,
    component_labels,
    detached,
    merge_inputs,
    read_choice,
    write_choice,
)
from weaverec.merging.task_vectors import TaskVector, by_layer, folded
from weaverec.merging.weighted_layers import weighted_layers
from weaverec.retriever.encoding import retriever
from weaverec.retriever.method import RetrieverHead
from weaverec.retriever.sampled_softmax import scattered, softmax_entropy, step_items, user_shares


class EntropyWeights:
    """A weighted sum of the task vectors, with the weights of each layer that minimise the entropy of predictions.

    The entropy is that of the softmax over the catalogue for users of the target, mean over users (AdaMerging,
    layer-wise; no label is read). Over a large catalogue it is estimated from a sample, as the loss is in training.
    The weights of a layer are a softmax, so they stay on the simplex, as in the WeaveRec authors' code; they start
    equal, and the histories are those of training.
    """

    name = "layer weights by entropy"

    def __init__(self, steps: int = 20, users: int = 64, learning_rate: float = 0.05) -> None:
        """Sets the optimisation.

        Args:
            steps: of Adam.
            users: whose predictions a step looks at.
            learning_rate: of Adam.
        """
        self.steps, self.users, self.learning_rate = steps, users, learning_rate

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:
        """The sum with these weights.

        Raises:
            HarnessError: the head is a ranker.
        """
        weights = read_choice(context.artefacts.get_or_train(self.artefact(components, context)))
        return by_layer([component.task_vector for component in components], weights)

    def artefact(self, components: Sequence[Component], context: MergeContext) -> Artefact:
        """The artefact of the weights.

        Raises:
            HarnessError: the head is a ranker.
        """
        head = context.head
        if not isinstance(head, RetrieverHead):
            raise HarnessError(
                "Weights by entropy need a softmax over the catalogue, and a ranker scores a few candidates only.",
                "Use a rule whose weights are chosen on validation, such as chosen-weights.",
            )
        return Artefact(
            kind="merge",
            label=f"weights by entropy for {context.target.name}: {component_labels(components)}",
            inputs={
                "rule": "entropy",
                "steps": [self.steps, self.users, self.learning_rate],
                **merge_inputs(components, context),
            },
            make=partial(_minimise_entropy, self, head, list(components), detached(context)),
            made_from=component_artefacts(components),
        )


def _minimise_entropy(
    rule: EntropyWeights,
    head: RetrieverHead,
    components: list[Component],
    context: MergeContext,
    folder: Path,
    make_context: MakeContext,
) -> TrainingRecord:
    context = detached(context, make_context.device)
    device, target, settings = context.device, context.target, head.settings
    torch.manual_seed(context.seed)
    rng = np.random.default_rng(context.seed)
    model = context.model
    encoder = head.encoder(context.tokenizer, target)
    vectors = [component.task_vector for component in components]
    layers = list(vectors[0])
    logits = torch.zeros(len(layers), len(vectors), device=device, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=rule.learning_rate)
    users = np.flatnonzero(target.train.lengths > 1)
    item_shares = user_shares(encoder, target.train, users)
    entropies = []
    with weighted_layers(model, vectors) as weighted:
        for step in range(rule.steps):
            batch = target.train.select(rng.choice(users, min(rule.users, len(users)), replace=False))
            for layer, weights in zip(weighted.values(), torch.softmax(logits, dim=1), strict=True):
                layer.weights = weights
            # A sample stands for a catalogue that is too large for a step, as in training.
            drawn = step_items(encoder.required_items(batch), item_shares, len(batch), settings.items, rng)
            with autocast_bf16(device):
                item_vectors = encoder.items(model, drawn.items).float()
                histories = encoder.histories(model, batch, scattered(item_vectors, drawn.items, len(encoder)))
            entropy = softmax_entropy(histories, batch, drawn, item_vectors, settings.temperature)
            optimiser.zero_grad()
            entropy.backward()
            optimiser.step()
            entropies.append(float(entropy.detach()))
            make_context.report(step + 1, rule.steps)
    chosen = _layer_weights(logits, layers)
    write_choice(folder, chosen)
    with folded(model, by_layer(vectors, chosen)), autocast_bf16(device):
        score = validation_ndcg(retriever(model, encoder), target)
    mean = np.mean(list(chosen.values()), axis=0).tolist()
    notes = {"rule": "entropy", "entropy_in_nats": entropies, "largest_possible": math.log(len(encoder)), "mean": mean}
    return TrainingRecord((score,), rule.steps, rule.steps, logits.numel(), notes)


def _layer_weights(logits: torch.Tensor, layers: list[str]) -> dict[str, list[float]]:
    """The softmax of each layer's logits [n_layers, n_components], by the layer's name."""
    weights = torch.softmax(logits.detach(), dim=1).cpu()
    return {layer: weights[row].tolist() for row, layer in enumerate(layers)}
