"""Methods with the ranker head: the same mixes and rules as with the retriever head, on a decoder-only backbone."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, MinLen
from torch import nn

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.evaluation.rank import rank_full
from harness.methods.api import DiagnosticTable, DotProduct, FitContext, Floats32, Scorer
from harness.methods.artefact import Artefact, MakeContext, StepCallback, TrainingEstimate
from harness.methods.registry import make_method
from harness.protocol.metrics import ndcg
from harness.protocol.scenario import Budget
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.record import TrainingRecord
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings
from weaverec.lm.backbone import PACKAGED, Backbone, autocast_bf16, find_backbone, load, load_tokenizer
from weaverec.lm.batching import padded, token_batches
from weaverec.lm.lora import LoraSettings, adapted, check_selectable, estimate, train_adapter
from weaverec.merging.diagnostics import diagnose, obtained, prefix_vectors
from weaverec.merging.search import merged_by
from weaverec.merging.task_vectors import fold, save_model
from weaverec.ranker.prompt import PromptSettings, prompt_tokens, shuffled, title_tokens
from weaverec.ranker.scorer import Ranker
from weaverec.retriever.encoding import RetrieverSettings, history_encoder, retriever
from weaverec.retriever.method import Merged

#: Validation is by NDCG at this.
_CUT = 10


@dataclass(frozen=True)
class RankerSettings(LoraSettings):
    """How the ranker is trained and asked. The defaults are the WeaveRec authors', but for our corrections.

    Attributes:
        epochs: passes over the prompts at most; the suite's budget may allow fewer.
        backbone: a decoder-only model: a folder, or a model in the Hugging Face cache.
        retriever_backbone: what finds the candidates in a whole catalogue, as it is.
        prompt: what a prompt holds.
        by_list: rank by the list that the model writes, instead of likelihoods.
        answer: what training teaches: `target`, the next item's title alone; or `list`, as the authors have it, the
            title among as many random candidates as the list holds, which teaches noise below the first line.
        train_on_validation: add the validation events to the training data, as the authors do. A result made so has
            been selected on data it was trained on.
        batch: prompts a step.
        cap: training prompts of each domain.
        most_tokens: tokens that go through the model at once.
        weights: `bfloat16`, in which several billion of them fit a GPU, or `float32`.
        validation_users: users of each domain that a validation asks, drawn with the seed from those whose item the
            retriever finds: all others' NDCG@10 is 0, whatever the model would say.
    """

    learning_rate: Annotated[float, Gt(0)] = 2e-4
    warm_up: Annotated[float, Ge(0), Le(1)] = 0.05
    steps: Annotated[int, Ge(1)] = 1_000_000
    epochs: Annotated[int, Ge(1)] = 2
    validations: Annotated[int, Ge(1)] = 2
    backbone: Annotated[str, MinLen(1)] = "Qwen/Qwen2-7B-Instruct"
    retriever_backbone: Annotated[str, MinLen(1)] = PACKAGED
    prompt: PromptSettings = field(default_factory=PromptSettings)
    by_list: bool = False
    answer: Literal["target", "list"] = "target"
    train_on_validation: bool = False
    batch: Annotated[int, Ge(1)] = 128
    cap: Annotated[int, Ge(1)] = 40_000
    most_tokens: Annotated[int, Ge(1)] = 8192
    weights: Literal["bfloat16", "float32"] = "bfloat16"
    validation_users: Annotated[int, Ge(1)] = 500


@dataclass(frozen=True)
class RankedMerge:
    """A method of `weaverec.retriever.method` with the ranker head.

    Attributes:
        retrieving: the method whose mixes and rule are used.
        settings: of the ranker.
        space: what the tuner may choose.
        folder: where the paths of backbones start, if they are relative.
    """

    retrieving: Merged
    settings: RankerSettings = field(default_factory=RankerSettings)
    space: Space = field(default_factory=lambda: Space.of_package("weaverec", "rankers"))
    folder: Path = Path()

    @property
    def backbone(self) -> Backbone:
        """The base model.

        Raises:
            HarnessError: it is not there.
        """
        return find_backbone(self.settings.backbone, self.folder)

    @property
    def retriever_backbone(self) -> Backbone:
        """What finds the candidates in a whole catalogue.

        Raises:
            HarnessError: it is not there.
        """
        return find_backbone(self.settings.retriever_backbone, self.folder)

    def relative_to(self, folder: Path) -> "RankedMerge":
        """The same method, with the backbones' paths read from a folder."""
        return replace(self, folder=folder)

    @property
    def reference(self) -> str | None:
        """The ranker of the method's own reference."""
        return self.retrieving.reference and f"ranker.{self.retrieving.reference}"

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains of its components; the target alone if nothing is trained."""
        return self.retrieving.learns_from(target, sources)

    def tuned(self, chosen: Mapping[str, Any]) -> "RankedMerge":
        """The same method with settings from its space."""
        return replace(self, settings=with_settings(self.settings, chosen))

    def content(self) -> Mapping[str, str]:
        """The digests of the ranker's and the retriever's backbone."""
        return {
            "backbone": self.backbone.digest,
            "retriever": self.retriever_backbone.digest,
        }

    def check_files(self) -> None:
        """Looks at the files of both backbones; without their weights, the method can be planned."""
        self.backbone.check("tokens")
        self.retriever_backbone.check()

    def check_data(self, data: TrainingData) -> None:
        """Asks for item texts, and for validation events in each mix.

        Raises:
            HarnessError: there are none.
        """
        self.retrieving.check_data(data)

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The components, each once.

        Raises:
            HarnessError: they would be trained to answer otherwise than they are asked.
        """
        mixes = self.retrieving.distinct_mixes(data)
        own = self.settings
        if mixes and own.by_list and own.answer == "target" and own.prompt.answers > 1:
            raise HarnessError(
                "A ranker that is taught to answer with one title (answer: target) cannot be read by_list of "
                f"{own.prompt.answers}.",
                "Set `answer: list`, or `prompt.answers: 1`, or leave by_list out.",
            )
        return [ranker_component(data, mix, self.settings, budget, seed, self.folder) for mix in mixes]

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Trains the components that are not there yet, merges and folds."""
        model, tokenizer = self._model(data, context)
        return _ranker(
            model.to(context.device),
            tokenizer,
            data.target_domain,
            self.settings,
            context.seed,
            context.device,
            self.retriever_backbone,
            self.settings.by_list,
        )

    def export(self, data: TrainingData, context: FitContext, folder: Path) -> None:
        """Writes the merged model as a plain Hugging Face folder."""
        model, tokenizer = self._model(data, context)
        made_of = [artefact.label for artefact in self.artefacts(data, context.budget, context.seed)]
        save_model(model, tokenizer, folder, self.backbone.name, made_of)

    def diagnose(self, data: TrainingData, context: FitContext, report: StepCallback) -> list[DiagnosticTable]:
        """What can be measured of why the merge wins or loses, by the likelihoods of the components and merges."""
        needed = self.artefacts(data, context.budget, context.seed)
        components = obtained(self.retrieving.distinct_mixes(data), needed, context.artefacts)
        model, validate = self._opened(data.target_domain, context.seed, context.device)

        def vectors_of(name: str) -> Floats32:
            domain = data.domains[name]
            return prefix_vectors(_finder(domain, self.retriever_backbone, context.device), domain)

        return diagnose(model, validate, vectors_of, components, data, self.settings.cap, report)

    def _model(self, data: TrainingData, context: FitContext) -> tuple[nn.Module, Any]:
        needed = self.artefacts(data, context.budget, context.seed)
        rule, target = self.retrieving.rule, data.target_domain
        assert rule is not None  # noqa: S101 - by_name takes no other
        opened = partial(self._opened, target, context.seed)
        delta = merged_by(rule, needed, target, opened, context.artefacts) if needed else {}
        model, tokenizer = load(self.backbone, "tokens", _weights(self.settings))
        return fold(model, delta), tokenizer

    def _opened(self, target: DomainTraining, seed: int, device: str) -> tuple[nn.Module, Callable[[], float]]:
        """The base model, and what validates it as it stands, by likelihoods."""
        model, tokenizer = load(self.backbone, "tokens", _weights(self.settings))
        ranker = _ranker(model.to(device), tokenizer, target, self.settings, seed, device, self.retriever_backbone)
        asked = _asked(ranker, target, self.settings, seed)
        return model, lambda: _validated(ranker, asked, device, SINGLE_PROCESS)


def by_name(name: str) -> RankedMerge:
    """The ranker of a method on the language model: `ranker.weaverec`.

    Raises:
        HarnessError: no such method, or one that is not made of components.
    """
    method = make_method(name)
    if not isinstance(method, Merged):
        raise HarnessError(f"{name} is no method on the language model.", "Use ranker.weaverec, for example.")
    if method.rule is None:
        raise HarnessError(
            f"ranker.{name}: weights by entropy need gradients in every layer's merged weights, which for a ranker's "
            "backbone take several times its memory.",
            "Use ranker.weaverec-chosen, whose weights validation chooses, or another rule, such as ranker.ties.",
        )
    return RankedMerge(method)


def ranker_component(
    data: TrainingData,
    mix: tuple[str, ...],
    settings: RankerSettings,
    budget: Budget,
    seed: int,
    start: Path = Path(),
) -> Artefact:
    """The artefact of one LoRA component of a ranker; the order of the mix does not matter.

    Args:
        data: the scenario's.
        mix: names of domains.
        settings: of the training.
        budget: of the suite.
        seed: of the training.
        start: where the paths of backbones start, if they are relative.
    """
    backbone, finder = (find_backbone(name, start) for name in (settings.backbone, settings.retriever_backbone))
    domains = sorted((data.domains[name] for name in mix), key=lambda domain: domain.identity)
    if settings.train_on_validation and any(domain.selected_on_test for domain in domains):
        raise HarnessError(
            f"train_on_validation would train on the test events: under the split {domains[0].split} they are the "
            "validation events, and the last but one trains anyway.",
            "Leave train_on_validation false, or use another split.",
        )
    return Artefact(
        kind="lora",
        label=f"ranking LoRA on {' + '.join(sorted(mix))}, seed {seed}",
        inputs={
            "head": "ranker",
            "backbone": [backbone.name, backbone.digest],
            "domains": [domain.identity for domain in domains],
            # How it is asked is not how it is trained.
            "settings": asdict(replace(settings, by_list=False)),
            "retriever": finder.digest,
            "budget": budget.of_a_training,
            "seed": seed,
        },
        make=partial(_train, backbone, finder, domains, settings, budget, seed),
        estimate=partial(_estimate, backbone, domains, settings, budget),
        shared=True,
    )


def _estimate(
    backbone: Backbone, domains: list[DomainTraining], settings: RankerSettings, budget: Budget
) -> TrainingEstimate:
    """From the mean length of some prompts."""
    tokenizer = load_tokenizer(backbone)
    lengths, answers, prompts = [], [], 0
    for domain in domains:
        few = list(examples(domain, tokenizer, replace(settings, cap=50), np.random.default_rng(0)))
        lengths += [len(example.prompt) + len(example.answer) for example in few]
        answers += [len(example.answer) for example in few]
        prompts += min(settings.cap, int(np.maximum(domain.train.lengths - 1, 0).sum()))
    a_prompt = float(np.mean(lengths))
    an_answer = float(np.mean(answers))
    trained = min(settings.epochs, budget.epochs) * prompts * a_prompt
    asked = sum(min(settings.validation_users, len(domain.validation.targets)) for domain in domains)
    read = settings.validations * asked * a_prompt
    at_once, of_answers = settings.most_tokens, settings.most_tokens * an_answer / a_prompt
    return estimate(backbone, settings, trained, read, at_once, _weights(settings), predicted=of_answers)


@dataclass(frozen=True)
class Example:
    """A training prompt and its answer, as tokens."""

    prompt: list[int]
    answer: list[int]


def examples(
    domain: DomainTraining, tokenizer: Any, settings: RankerSettings, rng: np.random.Generator
) -> Iterator[Example]:
    """One example for each of at most `cap` prefixes of a domain, in random order.

    The candidates are the item that follows and uniform draws outside all of the user's known items.
    """
    sequences = domain.train
    pairs = [(row, end) for row in range(len(sequences)) for end in range(1, len(sequences[row]))]
    known: dict[int, Ints] = {row: sequences[row] for row in range(len(sequences))}
    if settings.train_on_validation:
        validation = domain.validation
        for place, row in enumerate(validation.histories.users.tolist()):
            known[row] = np.append(validation.histories.sequences[place], validation.targets[place])
            pairs.append((row, len(known[row]) - 1))
    titles, n_items = domain.catalogue.texts, len(domain.catalogue)
    for place in rng.permutation(len(pairs))[: settings.cap]:
        row, end = pairs[place]
        target = int(known[row][end])
        free = np.setdiff1d(np.arange(n_items), known[row])
        drawn = rng.choice(free, min(settings.prompt.candidates - 1, len(free)), replace=False)
        offered = shuffled(np.append(drawn, target), row, int(rng.integers(2**31)))
        prompt = prompt_tokens(titles, known[row][:end], offered, tokenizer, settings.prompt)
        answered = np.array([target])
        if settings.answer == "list":
            answered = np.append(answered, rng.permutation(drawn)[: settings.prompt.answers - 1])
        lines = title_tokens(titles, answered, tokenizer, settings.prompt)
        if tokenizer.eos_token_id is None:
            raise HarnessError("The backbone's tokenizer has no token that ends an answer.", "Use a chat model.")
        yield Example(prompt, [*(token for line in lines for token in line), tokenizer.eos_token_id])


def answer_loss(model: nn.Module, batch: list[Example], pad: int) -> torch.Tensor:
    """The sum over a batch of each answer's mean negative log-likelihood after its prompt: float []."""
    network: Any = model
    ids, mask = padded([[*example.prompt, *example.answer] for example in batch], pad)
    device = next(model.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    # No logits of what is prompt in every row: a vocabulary is many times as wide as a model.
    first = min(len(example.prompt) for example in batch) - 1
    kept = network(input_ids=ids, attention_mask=mask, logits_to_keep=ids.shape[1] - first).logits[:, :-1].float()
    losses = F.cross_entropy(kept.transpose(1, 2), ids[:, first + 1 :], reduction="none")
    total = losses.new_zeros(())
    for row, example in enumerate(batch):
        start = len(example.prompt) - 1 - first
        total = total + losses[row, start : start + len(example.answer)].mean()
    return total


def _train(
    backbone: Backbone,
    finder: Backbone,
    domains: list[DomainTraining],
    settings: RankerSettings,
    budget: Budget,
    seed: int,
    folder: Path,
    making: MakeContext,
) -> TrainingRecord:
    device = making.device
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    check_selectable(domains)
    base, tokenizer = load(backbone, "tokens", _weights(settings))
    model = adapted(base, backbone, settings).to(device)
    known = [example for domain in domains for example in examples(domain, tokenizer, settings, rng)]
    epochs = min(settings.epochs, budget.epochs)
    order = np.concatenate([rng.permutation(len(known)) for _ in range(epochs)])
    steps = min(settings.steps, -(-len(order) // settings.batch))
    taken = np.array_split(order[: steps * settings.batch], steps)

    processes = making.processes

    def gradients(places: Ints) -> float:
        batch = [known[place] for place in places[processes.share(len(places))]]
        loss = 0.0
        # A step's prompts go through the model in groups of like length; their gradients add up.
        for rows in token_batches(np.array([len(e.prompt) + len(e.answer) for e in batch]), settings.most_tokens):
            with autocast_bf16(device):
                part = answer_loss(model, [batch[row] for row in rows], tokenizer.pad_token_id) / len(places)
            part.backward()
            loss += float(part.detach())
        return loss

    # By likelihoods, whatever way answers are given when it serves.
    rankers = [
        (ranker, _asked(ranker, domain, settings, seed))
        for domain in domains
        if len(domain.validation.targets)
        for ranker in [_ranker(model, tokenizer, domain, settings, seed, device, finder)]
    ]

    def validate() -> float:
        return float(np.mean([_validated(ranker, asked, device, processes) for ranker, asked in rankers]))

    record = train_adapter(model, settings, steps, budget.patience, iter(taken), gradients, validate, folder, making)
    tokens = sum(len(e.prompt) + len(e.answer) for e in known)
    return replace(record, notes={**record.notes, "prompts": len(known), "tokens": tokens})


def _ranker(
    model: nn.Module,
    tokenizer: Any,
    domain: DomainTraining,
    settings: RankerSettings,
    seed: int,
    device: str,
    finder: Backbone,
    by_list: bool = False,
) -> Ranker:
    return Ranker(
        model,
        tokenizer,
        domain.catalogue,
        _finder(domain, finder, device),
        settings.prompt,
        seed,
        by_list,
        # Nothing but keys and values is kept of what is read for a list.
        at_once=8 * settings.most_tokens,
    )


def _finder(domain: DomainTraining, backbone: Backbone, device: str) -> DotProduct:
    """The retriever, as it is, that finds a ranker's candidates in a whole catalogue."""
    model, tokenizer = load(backbone)
    reading = history_encoder(backbone, domain.catalogue, tokenizer, RetrieverSettings())
    return retriever(model.to(device), reading)


@dataclass(frozen=True)
class _Asked:
    """Validation events on which a ranker is asked.

    Attributes:
        events: some of those whose item can be among the first ten.
        share: of all events, such as these.
    """

    events: HeldOut
    share: float


def _asked(ranker: Ranker, domain: DomainTraining, settings: RankerSettings, seed: int) -> _Asked:
    """At most `validation_users` events, drawn with the seed.

    The model reorders the retriever's best, all others keep their places. So with as many items nearer than are
    reordered, and ten at least, an item is never among the first ten, and the model need not be asked.
    """
    nearer = rank_full(ranker.retriever, domain.validation, len(domain.catalogue)).above
    can = np.flatnonzero(nearer < max(settings.prompt.candidates, _CUT))
    drawn = can[np.random.default_rng(seed).permutation(len(can))[: settings.validation_users]]
    return _Asked(_rows(domain.validation, np.sort(drawn)), len(can) / len(nearer))


def _validated(ranker: Ranker, asked: _Asked, device: str, processes: ProcessGroup) -> float:
    """NDCG@10 on validation events, estimated from those that are asked; each process ranks its share of them."""
    events = len(asked.events.targets)
    own = _rows(asked.events, processes.share(events))
    with autocast_bf16(device):
        gained = ndcg(rank_full(ranker, own, len(ranker.catalogue)), _CUT).sum() if len(own.targets) else 0.0
    return asked.share * processes.total(float(gained)) / max(1, events)


def _rows(held_out: HeldOut, rows: Ints) -> HeldOut:
    return HeldOut(held_out.histories.select(rows), held_out.targets[rows], held_out.times[rows])


def _weights(settings: RankerSettings) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, settings.weights)
    return dtype
