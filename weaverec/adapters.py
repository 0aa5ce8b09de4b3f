"""Training one LoRA component on a mix of domains."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.data.domain import Ints, Sequences
from harness.evaluate import validation_ndcg
from harness.method import Artefact, Estimate, Report, TrainingRecord
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining, TrainingData
from weaverec.backbone import PACKAGED, Backbone, find_backbone, half_where_it_pays, load, load_tokenizer
from weaverec.retriever import Reading, RetrieverSettings, catalogue_vectors, reading_of, retriever
from weaverec.training import LoraSettings, adapted, check_selectable, estimate, train_adapter


@dataclass(frozen=True)
class ComponentSettings(LoraSettings):
    """How every component of the retriever is trained, whatever its mix: only the mix differs between components.

    Attributes:
        backbone: `minilm`, a folder, or a model in the Hugging Face cache.
        retriever: how texts and histories become vectors.
        batch: prefixes a step at most; whole users of one domain.
        fresh: items a step at most whose texts are encoded anew, with gradients.
        cap: training prefixes used of each domain (the paper's 40,000); whole users.
        temperature: divisor of the dot products in the softmax.
        softmax_up_to: the softmax is over the whole catalogue up to so many items; above, over the fresh items and
            as many others drawn uniformly, which are counted for all that were not drawn.
    """

    backbone: str = PACKAGED
    retriever: RetrieverSettings = field(default_factory=RetrieverSettings)
    batch: int = 4096
    fresh: int = 384
    cap: int = 40_000
    temperature: float = 0.1
    softmax_up_to: int = 100_000


def component(
    data: TrainingData, mix: tuple[str, ...], settings: ComponentSettings, budget: Budget, seed: int
) -> Artefact:
    """The artefact of one LoRA component, trained on the union of the mix's domains.

    The order of the mix does not matter: the hybrid of T and S is that of S and T, one artefact for both.
    """
    backbone = find_backbone(settings.backbone)
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
        estimate=partial(_estimate, backbone, domains, settings, budget),
    )


def _estimate(
    backbone: Backbone, domains: list[DomainTraining], settings: ComponentSettings, budget: Budget
) -> Estimate:
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
    epochs = budget.epochs * np.minimum(prefixes, settings.cap).sum() / max(1.0, min(step, settings.batch))
    steps = min(settings.steps, math.ceil(epochs))
    # A decoder-only model reads the histories too.
    factor = 2 if backbone.decoder_only else 1
    asked = sum(len(domain.validation.targets) for domain in domains) * per_user if backbone.decoder_only else 0
    read = (settings.validations + 1) * (items.sum() + asked) * a_text
    return estimate(backbone, settings, factor * steps * step * a_text, read, factor * step * a_text)


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

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    check_selectable(domains)
    base, tokenizer = load(backbone)
    model = adapted(base, backbone, settings).to(device)
    parts = [
        _Part(domain, reading_of(backbone, domain.catalogue, tokenizer, settings.retriever), settings, seed)
        for domain in domains
    ]
    per_epoch = sum(len(_batches(part, settings, np.random.default_rng(seed))) for part in parts)
    steps = min(settings.steps, budget.epochs * per_epoch)
    schedule = _schedule(parts, settings, rng)
    trained = [0] * len(parts)

    def gradients() -> float:
        which, users = next(schedule)
        loss, prefixes = _loss(model, parts[which], users, settings, rng, device)
        trained[which] += prefixes
        loss.backward()
        return float(loss.detach())

    def validate() -> float:
        with half_where_it_pays(device):
            scores = [part.validated(model) for part in parts]
        # The mean over the mix: a hybrid serves each of its domains in turn, so none may choose for it.
        return float(np.mean([score for score in scores if score is not None]))

    with half_where_it_pays(device):
        for part in parts:
            part.read_anew(model)
    record = train_adapter(model, settings, steps, budget.patience, gradients, validate, folder, report)
    prefixes = {domain.name: count for domain, count in zip(domains, trained, strict=True)}
    return replace(record, notes={"prefixes": prefixes})


class _Part:
    """One domain of a mix while a component is trained.

    Attributes:
        domain: the domain.
        reading: how its texts are read.
        users: int64, the users whose prefixes are trained on.
        vectors: float32 [n_items, d], every item's vector as it was when last encoded. A step encodes only the
            items it touches; the others stand in the softmax as they were, and pass no gradient on.
    """

    def __init__(self, domain: DomainTraining, reading: Reading, settings: ComponentSettings, seed: int) -> None:
        self.domain, self.reading = domain, reading
        self.users = _users(domain.train, settings.cap, seed)
        self.vectors = torch.zeros(0)

    def read_anew(self, model: nn.Module) -> None:
        """Encodes the whole catalogue."""
        self.vectors = catalogue_vectors(model, self.reading).float()

    def validated(self, model: nn.Module) -> float | None:
        """Validation NDCG@10; None where a split by time left nothing to validate on. Encodes the catalogue anew."""
        self.read_anew(model)
        if not len(self.domain.validation.targets):
            return None
        return validation_ndcg(retriever(model, self.reading, self.vectors), self.domain)


def _loss(
    model: nn.Module, part: _Part, users: Ints, settings: ComponentSettings, rng: np.random.Generator, device: str
) -> tuple[torch.Tensor, int]:
    """Softmax cross-entropy of all prefixes of some users, mean; and how many prefixes that are."""
    own = part.domain.train.select(users)
    touched = part.reading.touched(own)
    places = torch.from_numpy(touched).to(part.vectors.device)
    with half_where_it_pays(device):
        fresh = part.reading.items(model, touched).float()
        vectors = part.vectors.index_copy(0, places, fresh)
        states, targets = part.reading.prefixes(model, own, vectors)
    if len(part.reading) <= settings.softmax_up_to:
        scores = states.float() @ vectors.T / settings.temperature
    else:
        scores, targets = _sampled_scores(states.float(), targets, fresh, touched, part.vectors, settings, rng)
    part.vectors[places] = fresh.detach()
    return F.cross_entropy(scores, targets), len(targets)


def _sampled_scores(
    states: torch.Tensor,
    targets: torch.Tensor,
    fresh: torch.Tensor,
    touched: Ints,
    vectors: torch.Tensor,
    settings: ComponentSettings,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the touched items and of others drawn uniformly, and the targets' columns.

    The softmax's sum over the items that are not touched is estimated from n draws out of N of them, each counted
    N / n times: log(N / n) is added to their scores. The estimate of the sum has no bias.
    """
    columns = torch.searchsorted(torch.from_numpy(touched).to(targets.device), targets)
    others = np.setdiff1d(np.arange(len(vectors)), touched)
    if not len(others):
        return states @ fresh.T / settings.temperature, columns
    drawn = rng.choice(others, min(settings.softmax_up_to, len(others)), replace=False)
    negatives = vectors[torch.from_numpy(drawn).to(vectors.device)]
    scores = torch.cat(
        [
            states @ fresh.T / settings.temperature,
            states @ negatives.T / settings.temperature + math.log(len(others) / len(drawn)),
        ],
        dim=1,
    )
    return scores, columns


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
