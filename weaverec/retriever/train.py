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

#: Item vectors with a mean cosine above this have collapsed; and how many are compared before and after a training.
_COLLAPSED, _COMPARED = 0.99, 512


@dataclass(frozen=True)
class ComponentSettings(LoraSettings):
    """How every component of the retriever is trained, whatever its mix: only the mix differs between components.

    A training ends when validation no longer gains, so the rate stays constant, and what is kept is a moving average of
    the weights: it comes to what a falling rate would, without knowing beforehand when to fall.

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
    """

    warm_up: Annotated[float, Ge(0), Le(1)] = 0.02
    schedule: Literal["cosine", "constant"] = "constant"
    averaging: Annotated[float, Ge(0), Lt(1)] = 0.9
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
    validations = math.ceil(steps / (settings.validate_every * len(domains)))
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
    device = context.device
    torch.manual_seed(seed)
    check_selectable(domains)
    base, tokenizer = load(backbone)
    model = adapted(base, backbone, settings).to(device)
    parts = [
        _Part(
            domain,
            history_encoder(
                backbone, domain.catalogue, tokenizer, settings.retriever, context.processes, settings.accumulate
            ),
            settings,
            seed,
        )
        for domain in domains
    ]
    per_epoch = sum(len(_batches(part, settings, np.random.default_rng(seed))) for part in parts)
    caps = {"cap on steps": settings.steps * len(parts), "cap on epochs": budget.epochs * per_epoch}
    cap = min(caps, key=lambda name: caps[name])
    name = _label([domain.name for domain in domains], seed)
    plan = TrainingPlan(name, caps[cap], settings.validate_every * len(parts), budget.patience)

    def schedule() -> Iterator[tuple[int, Ints]]:
        return _schedule(parts, settings, np.random.default_rng(seed))

    def batches() -> Iterator[tuple[_Part, Ints, np.random.Generator]]:
        for number, (which, users) in enumerate(schedule()):
            # A step's draws are its own, so that a training that goes on draws as one that was never cut off.
            yield parts[which], users, np.random.default_rng((seed, number))

    def gradients(batch: tuple[_Part, Ints, np.random.Generator]) -> float:
        part, users, rng = batch
        # Every process has the whole loss, and the gradients of what it computed itself.
        loss = _loss(model, part, users, settings, rng, device)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach()) / context.processes.count

    def validate() -> float:
        with autocast_bf16(device):
            scores = [part.validated(model) for part in parts]
        # The mean over the mix: a hybrid serves each of its domains in turn, so none may choose for it.
        found = float(np.mean([score for score in scores if score is not None]))
        # The processes read the same vectors; that they stop at one step must not hang on the last bits.
        return context.processes.total(found) / context.processes.count

    with torch.no_grad():
        before = [part.cosine(model) for part in parts]
        part, users, rng = next(batches())
        start = {
            "loss": float(_loss(model, part, users, settings, rng, device)),
            "log_items": math.log(len(part.reading)),
        }
    record = train_adapter(model, settings, plan, batches(), gradients, validate, folder, context)
    with torch.no_grad():
        after = [part.cosine(model) for part in parts]
    for part, old, new in zip(parts, before, after, strict=True):
        if new > _COLLAPSED >= old:
            items = f"the items of {part.domain.name}"
            raise diverged(name, f"{items} have vectors with a mean cosine of {new:.3f}, {old:.3f} before it", settings)
    prefixes, tokens = dict.fromkeys([domain.name for domain in domains], 0), 0
    for part, users, rng in islice(batches(), record.steps):
        prefixes[part.domain.name] += int((part.domain.train.lengths[users] - 1).sum())
        own, step = _drawn(part, users, settings, rng)
        tokens += part.reading.tokens(step.items, own)
    notes = {
        **record.notes,
        "prefixes": prefixes,
        "tokens": tokens,
        "start": start,
        "mean_cosine": {part.domain.name: pair for part, *pair in zip(parts, before, after, strict=True)},
    }
    if notes["stopped_by"] != "patience":
        notes["stopped_by"] = cap
    return replace(record, notes=notes)


class _Part:
    """One domain of a mix while a component is trained.

    Attributes:
        domain: the domain.
        reading: how its texts are read.
        users: int64, the users whose prefixes are trained on.
        shares: float32 [n_items], the share of these users who bring an item into a step.
    """

    def __init__(self, domain: DomainTraining, reading: HistoryEncoder, settings: ComponentSettings, seed: int) -> None:
        self.domain, self.reading = domain, reading
        self.users = _users(domain.train, settings.cap, seed)
        self.shares = user_shares(reading, domain.train, self.users)

    def validated(self, model: nn.Module) -> float | None:
        """Validation NDCG@10; None where a split by time left nothing to validate on."""
        if not len(self.domain.validation.targets):
            return None
        return validation_ndcg(retriever(model, self.reading), self.domain)

    def cosine(self, model: nn.Module) -> float:
        """The mean cosine of some of its items' vectors."""
        items = np.random.default_rng(0).permutation(len(self.reading))[:_COMPARED]
        with autocast_bf16(next(model.parameters()).device.type):
            return mean_cosine(self.reading.items(model, items).float().cpu().numpy())


def mean_cosine(vectors: Floats32) -> float:
    """The mean cosine of all pairs of n vectors of unit length, float32 [n, d]: 1 where they all are one."""
    n = len(vectors)
    total = np.linalg.norm(vectors.sum(axis=0, dtype=np.float64)) ** 2
    return float((total - n) / max(1, n * (n - 1)))


def _drawn(
    part: _Part, users: Ints, settings: ComponentSettings, rng: np.random.Generator
) -> tuple[Sequences, StepItems]:
    """The sequences of a step's users, and the items that it encodes."""
    own = part.domain.train.select(users)
    return own, step_items(part.reading.required_items(own), part.shares, len(users), settings.items, rng)


def _loss(
    model: nn.Module, part: _Part, users: Ints, settings: ComponentSettings, rng: np.random.Generator, device: str
) -> torch.Tensor:
    """Softmax cross-entropy of all prefixes of some users, mean."""
    own, step = _drawn(part, users, settings, rng)
    with autocast_bf16(device):
        fresh = part.reading.items(model, step.items).float()
        prefixes = part.reading.prefixes(model, own, scattered(fresh, step.items, len(part.reading)))
    return softmax_loss(prefixes, own, step, fresh, settings.temperature)


def _users(sequences: Sequences, cap: int, seed: int) -> Ints:
    """Users with something to predict, drawn at random while their prefixes are at most `cap`: int64, rising."""
    prefixes = np.maximum(sequences.lengths - 1, 0)
    users = np.flatnonzero(prefixes)
    drawn = np.random.default_rng(seed).permutation(users)
    kept = drawn[np.cumsum(prefixes[drawn]) <= cap]
    return np.sort(kept if len(kept) else drawn[:1])


def _batches(part: _Part, settings: ComponentSettings, rng: np.random.Generator) -> list[Ints]:
    """The users of a part in random order, cut into batches of at most `batch` prefixes and `fresh` items."""
    sequences = part.domain.train
    batches: list[Ints] = []
    open_users: list[int] = []
    items: set[int] = set()
    prefixes = 0
    for user in rng.permutation(part.users):
        more = set(sequences[user].tolist())
        count = int(sequences.offsets[user + 1] - sequences.offsets[user]) - 1
        if open_users and (prefixes + count > settings.batch or len(items | more) > settings.fresh):
            batches.append(np.array(open_users))
            open_users, items, prefixes = [], set(), 0
        open_users.append(int(user))
        items |= more
        prefixes += count
    return [*batches, np.array(open_users)]


def _schedule(parts: list[_Part], settings: ComponentSettings, rng: np.random.Generator) -> Iterator[tuple[int, Ints]]:
    """Batches without end: (index of the part, its users).

    In each epoch every part's users are shuffled and cut into batches, and the batches of all parts are shuffled
    together, so that domains take part in proportion to their size.
    """
    while True:
        epoch = [(which, users) for which, part in enumerate(parts) for users in _batches(part, settings, rng)]
        for place in rng.permutation(len(epoch)):
            yield epoch[place]


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
    for number, (which, users) in enumerate(_schedule(parts, settings, np.random.default_rng(seed))):
        yield _loss(model, parts[which], users, settings, np.random.default_rng((seed, number)), device)
