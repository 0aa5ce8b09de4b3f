"""Training one LoRA component on a mix of domains."""

import math
import warnings
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.data.domain import Ints
from harness.evaluate import validation_ndcg
from harness.method import Artefact, Report, TrainingRecord
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining, TrainingData
from harness.selection import BestByValidation
from weaverec.backbone import Backbone, load, packaged_minilm
from weaverec.retriever import ItemTexts, RetrieverSettings, contexts_before, retriever


@dataclass(frozen=True)
class ComponentSettings:
    """How every component is trained, whatever its mix: only the mix differs between components.

    Attributes:
        retriever: how texts and histories become vectors.
        rank: LoRA rank r.
        alpha: LoRA alpha; a task vector is (alpha / rank) B A.
        learning_rate: the peak.
        warm_up: share of the steps over which the rate rises; after that it falls along a cosine.
        steps: optimiser steps.
        batch: prefixes a step, all of one domain, whose whole catalogue they are scored against.
        cap: training prefixes used of each domain (the paper's 40,000).
        temperature: divisor of the dot products in the softmax.
        max_gradient_norm: gradients are scaled down to this norm.
        validate_every: steps between validations.
    """

    retriever: RetrieverSettings = field(default_factory=RetrieverSettings)
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 5e-3
    warm_up: float = 0.1
    steps: int = 50
    batch: int = 4096
    cap: int = 40_000
    temperature: float = 0.1
    max_gradient_norm: float = 1.0
    validate_every: int = 10


def component(
    data: TrainingData, mix: tuple[str, ...], settings: ComponentSettings, budget: Budget, seed: int
) -> Artefact:
    """The artefact of one LoRA component, trained on the union of the mix's domains.

    The order of the mix does not matter: the hybrid of T and S is that of S and T, one artefact for both.
    """
    backbone = packaged_minilm()
    domains = sorted((data.domains[name] for name in mix), key=lambda domain: domain.identity)
    return Artefact(
        kind="lora",
        label=f"LoRA on {' + '.join(sorted(mix))}, seed {seed}",
        inputs={
            "backbone": [backbone.name, backbone.digest],
            "domains": [domain.identity for domain in domains],
            "settings": asdict(settings),
            "budget": budget.of_a_training,
            "seed": seed,
        },
        make=partial(_train_component, backbone, domains, settings, budget, seed),
    )


def _train_component(
    backbone: Backbone,
    domains: list[DomainTraining],
    settings: ComponentSettings,
    budget: Budget,
    seed: int,
    folder: Path,
    device: str,
    report: Report,
) -> TrainingRecord:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    base, tokenizer = load(backbone)
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between PEFT and transformers; nothing here to change
        model = get_peft_model(base, config)
    # PEFT would write this machine's path, and the adapter could be loaded nowhere else.
    model.peft_config["default"].base_model_name_or_path = backbone.name
    # No dropout, in the base or in the adapter: see backbone.load.
    model.eval().to(device)
    texts = [ItemTexts(domain.catalogue.texts, tokenizer, settings.retriever.max_tokens) for domain in domains]
    prefixes = [_prefixes(domain, settings.cap, seed) for domain in domains]

    per_epoch = sum(math.ceil(len(events) / settings.batch) for events in prefixes)
    steps = min(settings.steps, budget.epochs * per_epoch)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, steps=steps, warm_up=settings.warm_up))
    best: BestByValidation[dict[str, torch.Tensor]] = BestByValidation(budget.patience)

    def state() -> dict[str, torch.Tensor]:
        return {
            name: tensor.detach().clone()
            for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
        }

    for step, (which, events) in enumerate(_schedule(prefixes, settings.batch, steps, rng), start=1):
        domain = domains[which]
        with torch.autocast(device, torch.bfloat16):
            vectors = texts[which].vectors(model)
        histories = contexts_before(domain.train, events, settings.retriever).pooled(vectors)
        targets = torch.from_numpy(domain.train.items[events]).to(device)
        loss = F.cross_entropy(histories @ vectors.T / settings.temperature, targets)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, settings.max_gradient_norm)
        optimiser.step()
        schedule.step()
        report(step, steps)
        if step % settings.validate_every == 0 or step == steps:
            with torch.autocast(device, torch.bfloat16):
                scores = [
                    validation_ndcg(retriever(model, own, settings.retriever), each)
                    for own, each in zip(texts, domains, strict=True)
                    if len(each.validation.targets)
                ]
            # The mean over the mix: a hybrid serves each of its domains in turn, so none may choose for it.
            if not best.see(float(np.mean(scores)), step, state):
                break
    assert best.state is not None  # noqa: S101 - the last step always validates
    set_peft_model_state_dict(model, best.state)
    # Embeddings are never adapted; asked to find out, PEFT would look for the base model on the network.
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    notes = {"prefixes": {domain.name: len(events) for domain, events in zip(domains, prefixes, strict=True)}}
    return best.record(step, sum(p.numel() for p in weights), notes)


def _prefixes(domain: DomainTraining, cap: int, seed: int) -> Ints:
    """Training events that have an item before them, at most `cap` of them drawn at random: flat positions."""
    events = np.flatnonzero(np.arange(len(domain.train.items)) > domain.train.offsets[:-1][domain.train.users])
    if len(events) <= cap:
        return events
    return np.sort(np.random.default_rng(seed).permutation(events)[:cap])


def _schedule(prefixes: list[Ints], batch: int, steps: int, rng: np.random.Generator) -> list[tuple[int, Ints]]:
    """Batches for `steps` steps: (index of the domain, its events).

    In each epoch every domain's prefixes are shuffled and cut into batches, and the batches of all domains are
    shuffled together, so that domains take part in proportion to their size.
    """
    batches: list[tuple[int, Ints]] = []
    while len(batches) < steps:
        epoch = [
            (which, part)
            for which, events in enumerate(prefixes)
            for part in np.array_split(rng.permutation(events), math.ceil(len(events) / batch))
        ]
        batches.extend(epoch[i] for i in rng.permutation(len(epoch)))
    return batches[:steps]


def _rate(step: int, steps: int, warm_up: float) -> float:
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
