"""Training one LoRA component on a mix of domains."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt, MinLen
from torch import nn

from harness.data.domain import Ints, Sequences
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.api import Floats32
from harness.methods.artefact import Artefact, MakeContext, TrainingEstimate
from harness.protocol.split import DomainTraining, TrainingData
from harness.protocol.suite import Budget
from harness.training.record import TrainingRecord
from weaverec.lm.backbone import PACKAGED, Backbone, autocast_bf16, find_backbone, load, load_tokenizer
from weaverec.lm.loop import TrainingPlan, diverged, train_adapter
from weaverec.lm.lora import LoraSettings, adapted, check_selectable, estimate
from weaverec.lm.tokens import BATCH_TOKENS
from weaverec.retriever.encoding import HistoryEncoder, RetrieverSettings, history_encoder, retriever
from weaverec.retriever.sampled_softmax import StepItems, scattered, softmax_loss, step_items, user_shares

#: Item vectors with a mean cosine above this have collapsed; number of vectors that are compared.
_COLLAPSED, _COMPARED = 0.99, 512


@dataclass(frozen=True)
class ComponentSettings(LoraSettings):
    """Training settings of all components of the retriever; only the mix of domains differs between components.

    Early stopping ends a training, so the learning rate is constant, and a moving average of the weights is kept: a
    decay would have to know its length in advance.

    Attributes:
        backbone: `minilm`, a folder, or a model in the Hugging Face cache.
        retriever: how texts and histories become vectors.
        batch: prefixes a step at most; whole users of one domain.
        items: items whose texts a step encodes; while a catalogue has no more, the softmax is over all of it.
        fresh: as many of them at most are its users'; the others are drawn.
        cap: training prefixes used of each domain (the paper's 40,000); whole users.
        temperature: divisor of the dot products in the softmax.
        accumulate: keep the activations of one batch of texts at a time, and compute each twice, for steps that do not
            fit the memory.
        validate_every: steps between validations, for each domain of the mix. At least as many as encode a catalogue
            once, so that validation takes a third of the time at most.
    """

    warm_up: Annotated[float, Ge(0), Le(1)] = 0.02
    schedule: Literal["cosine", "constant"] = "constant"
    averaging: Annotated[float, Ge(0), Lt(1)] = 0.9
    validate_every: Annotated[int, Ge(1)] = 10
    steps: Annotated[int, Ge(1)] = 1000
    backbone: Annotated[str, MinLen(1)] = PACKAGED
    retriever: RetrieverSettings = field(default_factory=RetrieverSettings)
    batch: Annotated[int, Ge(1)] = 4096
    items: Annotated[int, Ge(1)] = 512
    fresh: Annotated[int, Ge(1)] = 384
    cap: Annotated[int, Ge(1)] = 40_000
    temperature: Annotated[float, Gt(0)] = 0.1
    accumulate: bool = False


def component(
    data: TrainingData,
    mix: tuple[str, ...],
    settings: ComponentSettings,
    budget: Budget,
    seed: int,
    start: Path = Path(),
) -> Artefact:
    """The artefact of one LoRA component, trained on the union of the mix's domains.

    The order of the mix does not matter: the hybrid of T and S is that of S and T, one artefact for both.

    Args:
        data: the scenario's.
        mix: names of domains.
        settings: of the training.
        budget: of the suite.
        seed: of the training.
        start: where the path of the backbone starts, if it is relative.
    """
    backbone = find_backbone(settings.backbone, start)
    domains = sorted((data.domains[name] for name in mix), key=lambda domain: domain.identity)
    return Artefact(
        kind="lora",
        label=_label(mix, seed),
        inputs={
            "backbone": [backbone.name, backbone.digest],
            "domains": [domain.identity for domain in domains],
            "settings": asdict(settings),
            "budget": budget.training_limits,
            "seed": seed,
        },
        make=partial(_train_component, backbone, domains, settings, budget, seed),
        estimate=partial(_estimate, backbone, domains, settings, budget),
        shared=True,
    )


def _label(mix: Sequence[str], seed: int) -> str:
    return f"LoRA on {' + '.join(sorted(mix))}, seed {seed}"


def _estimate(
    backbone: Backbone, domains: list[DomainTraining], settings: ComponentSettings, budget: Budget
) -> TrainingEstimate:
    """From the mean length of some texts: steps times the items that one touches, and the catalogues at validations."""
    tokenizer = load_tokenizer(backbone)
    some = [text for domain in domains for text in domain.catalogue.texts[:: max(1, len(domain.catalogue) // 500)]]
    lengths = [
        len(ids) for ids in tokenizer(some, truncation=True, max_length=settings.retriever.max_tokens)["input_ids"]
    ]
    a_text = float(np.mean(lengths))
    items = np.array([len(domain.catalogue) for domain in domains])
    prefixes = np.array([np.maximum(domain.train.lengths - 1, 0).sum() for domain in domains])
    per_user = float(prefixes.sum() / max(1, sum((domain.train.lengths > 1).sum() for domain in domains)))
    # A user's prefixes share the user's items, so a step of `fresh` items holds about as many prefixes.
    step = min(settings.fresh, float(items.mean()), settings.batch)
    encoded = min(settings.items, float(items.mean()))
    epochs = budget.epochs * np.minimum(prefixes, settings.cap).sum() / max(1.0, min(step, settings.batch))
    steps = min(settings.steps * len(domains), math.ceil(epochs))
    # A decoder-only model reads the histories too.
    factor = 2 if backbone.decoder_only else 1
    asked = sum(len(domain.validation.targets) for domain in domains) * per_user if backbone.decoder_only else 0
    validations = math.ceil(steps / _validate_every([len(domain.catalogue) for domain in domains], settings))
    read = validations * (items.sum() + asked) * a_text
    at_once = min(factor * encoded * a_text, BATCH_TOKENS) if settings.accumulate else factor * encoded * a_text
    return estimate(backbone, settings, factor * steps * encoded * a_text, read, at_once, recompute=settings.accumulate)


def _train_component(
    backbone: Backbone,
    domains: list[DomainTraining],
    settings: ComponentSettings,
    budget: Budget,
    seed: int,
    folder: Path,
    context: MakeContext,
) -> TrainingRecord:
    device, processes = context.device, context.processes
    torch.manual_seed(seed)
    check_selectable(domains)
    base, tokenizer = load(backbone)
    model = adapted(base, backbone, settings).to(device)
    parts = [
        _Part(
            domain,
            history_encoder(backbone, domain.catalogue, tokenizer, settings.retriever, processes, settings.accumulate),
            settings,
            seed,
        )
        for domain in domains
    ]
    per_epoch = sum(len(_batches(part, settings, np.random.default_rng(seed))) for part in parts)
    caps = {"cap on steps": settings.steps * len(parts), "cap on epochs": budget.epochs * per_epoch}
    cap = min(caps, key=lambda name: caps[name])
    name = _label([domain.name for domain in domains], seed)
    validate_every = _validate_every([len(domain.catalogue) for domain in domains], settings)
    plan = TrainingPlan(name, caps[cap], validate_every, budget.patience)
    batches = partial(_step_batches, parts, settings, seed)

    def gradients(batch: _Batch) -> float:
        # Every process computes the whole loss, and the gradients of its own share of the texts.
        loss = _loss(model, *batch, settings, device)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach()) / processes.count

    def validate() -> float:
        with autocast_bf16(device):
            scores = [part.validate(model) for part in parts]
        # The mean over the mix: a hybrid serves each of its domains, so none of them selects it alone.
        score = float(np.mean([score for score in scores if score is not None]))
        # Averaged, so that the processes stop at one step even if their last bits differ.
        return processes.total(score) / processes.count

    with torch.no_grad():
        cosines = [part.mean_cosine(model) for part in parts]
        loss = float(_loss(model, *next(batches()), settings, device))
    record = train_adapter(model, settings, plan, batches(), gradients, validate, folder, context)
    notes = {
        **record.notes,
        **_presentations(parts, islice(batches(), record.steps), settings),
        "start": {"loss": loss, "log_items": math.log(len(next(batches())[0].encoder))},
        "mean_cosine": _mean_cosines(name, parts, model, cosines, settings),
    }
    if notes["stopped_by"] != "patience":
        notes["stopped_by"] = cap
    return replace(record, notes=notes)


def _validate_every(catalogues: Sequence[int], settings: ComponentSettings) -> int:
    """Steps between validations of a mix, from the number of items of each domain."""
    return sum(max(settings.validate_every, math.ceil(n_items / settings.items)) for n_items in catalogues)


def _mean_cosines(
    name: str, parts: "list[_Part]", model: nn.Module, before: list[float], settings: ComponentSettings
) -> dict[str, list[float]]:
    """Mean cosines of the domains' item vectors before and after training.

    Raises:
        DivergedError: the vectors of a domain have collapsed.
    """
    with torch.no_grad():
        after = [part.mean_cosine(model) for part in parts]
    for part, old, new in zip(parts, before, after, strict=True):
        if new > _COLLAPSED >= old:
            reason = (
                f"the item vectors of {part.domain.name} have a mean cosine of {new:.3f}, {old:.3f} before training"
            )
            raise diverged(name, reason, settings)
    return {part.domain.name: [old, new] for part, old, new in zip(parts, before, after, strict=True)}


def _presentations(parts: "list[_Part]", batches: "Iterator[_Batch]", settings: ComponentSettings) -> dict[str, Any]:
    """What a training saw: prefixes of each domain, and tokens."""
    prefixes, tokens = dict.fromkeys([part.domain.name for part in parts], 0), 0
    for part, users, rng in batches:
        prefixes[part.domain.name] += int((part.domain.train.lengths[users] - 1).sum())
        sequences, step = _step(part, users, settings, rng)
        tokens += part.encoder.tokens(step.items, sequences)
    return {"prefixes": prefixes, "tokens": tokens}


class _Part:
    """One domain of a mix while a component is trained.

    Attributes:
        domain: the domain.
        encoder: of its items and histories.
        users: int64, the users whose prefixes are trained on.
        shares: float32 [n_items], the share of these users for whom a step has to encode an item.
    """

    def __init__(self, domain: DomainTraining, encoder: HistoryEncoder, settings: ComponentSettings, seed: int) -> None:
        self.domain, self.encoder = domain, encoder
        self.users = _users(domain.train, settings.cap, seed)
        self.shares = user_shares(encoder, domain.train, self.users)

    def validate(self, model: nn.Module) -> float | None:
        """Validation NDCG@10; None if a temporal split leaves no validation event."""
        if not len(self.domain.validation.targets):
            return None
        return validation_ndcg(retriever(model, self.encoder), self.domain)

    def mean_cosine(self, model: nn.Module) -> float:
        """The mean cosine of the vectors of some items."""
        items = np.random.default_rng(0).permutation(len(self.encoder))[:_COMPARED]
        with autocast_bf16(next(model.parameters()).device.type):
            return mean_cosine(self.encoder.items(model, items).float().cpu().numpy())


def mean_cosine(vectors: Floats32) -> float:
    """The mean cosine of all pairs of n vectors of unit length, float32 [n, d]."""
    n = len(vectors)
    total = np.linalg.norm(vectors.sum(axis=0, dtype=np.float64)) ** 2
    return float((total - n) / max(1, n * (n - 1)))


#: A domain of the mix, int64 users of one step, and the step's generator.
_Batch = tuple[_Part, Ints, np.random.Generator]


def _step_batches(parts: list[_Part], settings: ComponentSettings, seed: int) -> Iterator[_Batch]:
    """The batch of each step, without end. Each step has its own generator, so a resumed training draws the same."""
    for number, (index, users) in enumerate(_schedule(parts, settings, np.random.default_rng(seed))):
        yield parts[index], users, np.random.default_rng((seed, number))


def _step(
    part: _Part, users: Ints, settings: ComponentSettings, rng: np.random.Generator
) -> tuple[Sequences, StepItems]:
    """The sequences of a step's users, and the items that it encodes."""
    sequences = part.domain.train.select(users)
    required = part.encoder.required_items(sequences)
    return sequences, step_items(required, part.shares, len(users), settings.items, rng)


def _loss(
    model: nn.Module, part: _Part, users: Ints, rng: np.random.Generator, settings: ComponentSettings, device: str
) -> torch.Tensor:
    """Softmax cross-entropy of all prefixes of some users, mean."""
    sequences, step = _step(part, users, settings, rng)
    with autocast_bf16(device):
        vectors = part.encoder.items(model, step.items).float()
        prefixes = part.encoder.prefixes(model, sequences, scattered(vectors, step.items, len(part.encoder)))
    return softmax_loss(prefixes, sequences, step, vectors, settings.temperature)


def _users(sequences: Sequences, cap: int, seed: int) -> Ints:
    """Random users with at least one prefix, as many as have at most `cap` prefixes together: int64, rising."""
    prefixes = np.maximum(sequences.lengths - 1, 0)
    users = np.flatnonzero(prefixes)
    order = np.random.default_rng(seed).permutation(users)
    selected = order[np.cumsum(prefixes[order]) <= cap]
    return np.sort(selected if len(selected) else order[:1])


def _batches(part: _Part, settings: ComponentSettings, rng: np.random.Generator) -> list[Ints]:
    """The users of a part in random order, cut into batches of at most `batch` prefixes and `fresh` items."""
    sequences = part.domain.train
    batches: list[Ints] = []
    open_users: list[int] = []
    items: set[int] = set()
    prefixes = 0
    for user in rng.permutation(part.users):
        added = set(sequences[user].tolist())
        count = int(sequences.offsets[user + 1] - sequences.offsets[user]) - 1
        if open_users and (prefixes + count > settings.batch or len(items | added) > settings.fresh):
            batches.append(np.array(open_users))
            open_users, items, prefixes = [], set(), 0
        open_users.append(int(user))
        items |= added
        prefixes += count
    return [*batches, np.array(open_users)]


def _schedule(parts: list[_Part], settings: ComponentSettings, rng: np.random.Generator) -> Iterator[tuple[int, Ints]]:
    """Batches without end: (index of the part, its users).

    In each epoch every part's users are shuffled and cut into batches, and the batches of all parts are shuffled
    together, so that each domain has as many steps as its size demands.
    """
    while True:
        epoch = [(index, users) for index, part in enumerate(parts) for users in _batches(part, settings, rng)]
        for number in rng.permutation(len(epoch)):
            yield epoch[number]


def training_losses(
    model: nn.Module,
    backbone: Backbone,
    tokenizer: Any,
    domains: Sequence[DomainTraining],
    settings: ComponentSettings,
    seed: int,
    device: str,
) -> Iterator[torch.Tensor]:
    """The loss of the batches of a training, without end: float32 [], differentiable in the model's weights."""
    parts = [
        _Part(domain, history_encoder(backbone, domain.catalogue, tokenizer, settings.retriever), settings, seed)
        for domain in domains
    ]
    for batch in _step_batches(parts, settings, seed):
        yield _loss(model, *batch, settings, device)
