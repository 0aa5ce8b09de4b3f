"""Training one LoRA component of a ranker on a mix of domains: prompts, and their answers."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, MinLen
from torch import nn

from harness.data.domain import Catalogue, Ints
from harness.errors import HarnessError
from harness.evaluation.rank_scorer import rank_full
from harness.methods.api import DotProduct
from harness.methods.artefact import Artefact, MakeContext
from harness.protocol.metrics import ndcg
from harness.protocol.split import DomainTraining, HeldOut, TrainingData
from harness.protocol.suite import Budget
from harness.training.distributed import SINGLE_PROCESS, ProcessGroup
from harness.training.record import TrainingRecord
from weaverec.lm.backbone import PACKAGED, Backbone, autocast_bf16, find_backbone, load
from weaverec.lm.batching import padded, token_batches
from weaverec.lm.loop import TrainingPlan, train_adapter
from weaverec.lm.lora import LoraSettings, adapted, check_selectable
from weaverec.ranker.attention import attends_by_blocks, block_attention, causal_blocks
from weaverec.ranker.cost import training_estimate
from weaverec.ranker.prompt import PromptSettings, make_prompt, shuffled, title_tokens
from weaverec.ranker.scorer import Ranker
from weaverec.retriever.encoding import RetrieverSettings, history_encoder, retriever

#: Tokens of prompts that go through a model as one row, on a CPU.
_ROW = 2048

#: Validation is by NDCG at this cutoff.
_CUTOFF = 10


@dataclass(frozen=True)
class RankerSettings(LoraSettings):
    """How the ranker is trained and scored. The defaults are the WeaveRec authors', except for corrected mistakes.

    Attributes:
        epochs: passes over the prompts at most; the suite's budget may allow fewer.
        backbone: a decoder-only model: a folder, or a model in the Hugging Face cache.
        retriever_backbone: the untrained model that retrieves candidates from a whole catalogue.
        prompt: what a prompt holds.
        by_list: rank by the list that the model writes, instead of likelihoods.
        answer: what is trained on: `target`, the next item's title alone; or `list`, as the authors have it, the title
            and then random candidates up to the length of the list, which are noise.
        learn_history: learn the titles of the history too, each after those before it. A prompt then teaches as many
            titles as it shows, at hardly any cost; the authors learn the answer alone.
        train_on_validation: add the validation events to the training data, as the authors do. Models are then
            selected on data they were trained on.
        batch: prompts a step.
        prompts_per_user: training prompts of each user at most, drawn at random.
        cap: training prompts of each domain at most.
        most_tokens: tokens that go through the model at once, on a GPU. On a CPU, 2,048 do at most.
        weights: `bfloat16`, in which several billion of them fit a GPU, or `float32`.
        validation_users: users of each domain in a validation, drawn with the seed from those whose item is among the
            retriever's best; for all others, NDCG@10 is 0 whatever the model answers.
    """

    learning_rate: Annotated[float, Gt(0)] = 2e-4
    warm_up: Annotated[float, Ge(0), Le(1)] = 0.05
    steps: Annotated[int, Ge(1)] = 1_000_000
    epochs: Annotated[int, Ge(1)] = 2
    validate_every: Annotated[int, Ge(1)] = 300
    backbone: Annotated[str, MinLen(1)] = "Qwen/Qwen2-7B-Instruct"
    retriever_backbone: Annotated[str, MinLen(1)] = PACKAGED
    prompt: PromptSettings = field(default_factory=PromptSettings)
    by_list: bool = False
    answer: Literal["target", "list"] = "target"
    learn_history: bool = False
    train_on_validation: bool = False
    batch: Annotated[int, Ge(1)] = 128
    prompts_per_user: Annotated[int, Ge(1)] = 1_000_000
    cap: Annotated[int, Ge(1)] = 40_000
    most_tokens: Annotated[int, Ge(1)] = 8192
    weights: Literal["bfloat16", "float32"] = "bfloat16"
    validation_users: Annotated[int, Ge(1)] = 500


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
        label=_label(mix, seed),
        inputs={
            "head": "ranker",
            "backbone": [backbone.name, backbone.digest],
            "domains": [domain.identity for domain in domains],
            # How answers are read does not change the training.
            "settings": asdict(replace(settings, by_list=False)),
            "retriever": finder.digest,
            "budget": budget.training_limits,
            "seed": seed,
        },
        make=partial(_train, backbone, finder, domains, settings, budget, seed),
        estimate=partial(training_estimate, backbone, domains, settings, budget),
        shared=True,
    )


def _label(mix: Sequence[str], seed: int) -> str:
    return f"ranking LoRA on {' + '.join(sorted(mix))}, seed {seed}"


@dataclass(frozen=True)
class Example:
    """A training prompt and its answer, as tokens.

    Attributes:
        prompt: up to the answer.
        answer: the next item's title, or a list.
        history: start and end of each title of the prompt that is learned too.
    """

    prompt: list[int]
    answer: list[int]
    history: list[tuple[int, int]] = field(default_factory=list)

    @property
    def learned(self) -> list[tuple[int, int]]:
        """Start and end of what is learned of the prompt and the answer after it."""
        return [*self.history, (len(self.prompt), len(self.prompt) + len(self.answer))]


def examples(
    domain: DomainTraining, tokenizer: Any, settings: RankerSettings, rng: np.random.Generator
) -> Iterator[Example]:
    """One example for each of at most `cap` prefixes of a domain, `prompts_per_user` of each user, in random order.

    The candidates are the next item and uniform draws from the items that the user does not know.
    """
    sequences = domain.train
    pairs = [(row, end) for row in range(len(sequences)) for end in range(1, len(sequences[row]))]
    known: dict[int, Ints] = {row: sequences[row] for row in range(len(sequences))}
    if settings.train_on_validation:
        validation = domain.validation
        for index, row in enumerate(validation.histories.users.tolist()):
            known[row] = np.append(validation.histories.sequences[index], validation.targets[index])
            pairs.append((row, len(known[row]) - 1))
    titles, n_items = domain.catalogue.texts, len(domain.catalogue)
    for row, end in _draw(pairs, settings, rng):
        target = int(known[row][end])
        unknown = np.setdiff1d(np.arange(n_items), known[row])
        negatives = rng.choice(unknown, min(settings.prompt.candidates - 1, len(unknown)), replace=False)
        candidates = shuffled(np.append(negatives, target), row, int(rng.integers(2**31)))
        prompt = make_prompt(titles, known[row][:end], candidates, tokenizer, settings.prompt)
        answer = np.array([target])
        if settings.answer == "list":
            answer = np.append(answer, rng.permutation(negatives)[: settings.prompt.answers - 1])
        lines = title_tokens(titles, answer, tokenizer, settings.prompt)
        if tokenizer.eos_token_id is None:
            raise HarnessError("The backbone's tokenizer has no token that ends an answer.", "Use a chat model.")
        learned = prompt.history if settings.learn_history else []
        yield Example(prompt.tokens, [*(token for line in lines for token in line), tokenizer.eos_token_id], learned)


def _draw(pairs: list[tuple[int, int]], settings: RankerSettings, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A random choice of the pairs (user, end of the prefix), within the limits of each user and of all."""
    drawn, of_user = [], Counter[int]()
    for index in rng.permutation(len(pairs)):
        row, _ = pairs[index]
        if of_user[row] < settings.prompts_per_user:
            of_user[row] += 1
            drawn.append(pairs[index])
    return drawn[: settings.cap]


def answer_loss(model: nn.Module, batch: list[Example], pad: int) -> torch.Tensor:
    """The sum over a batch of each example's loss: float [].

    An example's loss is the mean over its answer and the titles that are learned of its history, of each one's mean
    negative log-likelihood after all that stands before it.
    """
    network: Any = model
    device = next(model.parameters()).device
    texts = [np.array([*example.prompt, *example.answer]) for example in batch]
    learned = [np.concatenate([np.arange(*span) for span in example.learned]) for example in batch]
    predicted = torch.from_numpy(np.concatenate([text[at] for text, at in zip(texts, learned, strict=True)]))
    rows = [text[:-1].tolist() for text in texts]  # the last token predicts nothing
    # No logits of what is not learned: a vocabulary is many times as wide as a model.
    if attends_by_blocks(model):
        starts = np.cumsum([0, *(len(row) for row in rows[:-1])])
        keep = np.concatenate([start + of_text - 1 for start, of_text in zip(starts, learned, strict=True)])
        with block_attention(model):
            logits = network(
                input_ids=torch.tensor([[token for row in rows for token in row]]),
                position_ids=torch.cat([torch.arange(len(row)) for row in rows])[None],
                blocks=causal_blocks([len(row) for row in rows]),
                logits_to_keep=torch.from_numpy(keep),
                use_cache=False,
            ).logits[0]
    else:
        ids, mask = (part.to(device) for part in padded(rows, pad))
        first = min(int(of_text[0]) for of_text in learned) - 1
        kept = network(input_ids=ids, attention_mask=mask, logits_to_keep=ids.shape[1] - first).logits
        logits = torch.cat([each[of_text - 1 - first] for each, of_text in zip(kept, learned, strict=True)])
    losses = F.cross_entropy(logits.float(), predicted.to(device), reduction="none")
    titles = losses.split([end - start for example in batch for start, end in example.learned])
    means = torch.stack([title.mean() for title in titles])
    return torch.stack([each.mean() for each in means.split([len(example.learned) for example in batch])]).sum()


def _at_once(model: nn.Module, settings: RankerSettings) -> int:
    """Tokens of a batch."""
    if next(model.parameters()).device.type != "cpu":
        return settings.most_tokens
    # A CPU multiplies a single prompt at its full rate; padding, and attention with a mask, would cost it more than a
    # larger batch saves. Prompts in one row need neither, and share the sum of each layer's weights and its adapter.
    return min(_ROW, settings.most_tokens) if attends_by_blocks(model) else 1


def training_losses(
    model: nn.Module,
    tokenizer: Any,
    domains: Sequence[DomainTraining],
    settings: RankerSettings,
    seed: int,
    device: str,
) -> Iterator[torch.Tensor]:
    """The mean loss of batches of training prompts, without end: float [], differentiable in the model's weights."""
    rng = np.random.default_rng(seed)
    prompts = [example for domain in domains for example in examples(domain, tokenizer, settings, rng)]
    lengths = np.array([len(example.prompt) + len(example.answer) for example in prompts])
    while True:
        order = rng.permutation(len(prompts))
        for start in range(0, len(order), settings.batch):
            batch = order[start : start + settings.batch]
            for rows in token_batches(lengths[batch], _at_once(model, settings)):
                with autocast_bf16(device):
                    loss = answer_loss(model, [prompts[row] for row in batch[rows]], tokenizer.pad_token_id)
                yield loss / len(rows)


def _train(
    backbone: Backbone,
    finder: Backbone,
    domains: list[DomainTraining],
    settings: RankerSettings,
    budget: Budget,
    seed: int,
    folder: Path,
    context: MakeContext,
) -> TrainingRecord:
    device = context.device
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    check_selectable(domains)
    base, tokenizer = load(backbone, "tokens", weights_dtype(settings))
    model = adapted(base, backbone, settings).to(device)
    prompts = [example for domain in domains for example in examples(domain, tokenizer, settings, rng)]
    epochs = min(settings.epochs, budget.epochs)
    order = np.concatenate([rng.permutation(len(prompts)) for _ in range(epochs)])
    steps = min(settings.steps * len(domains), -(-len(order) // settings.batch))
    batches = np.array_split(order[: steps * settings.batch], steps)

    processes = context.processes

    def gradients(rows: Ints) -> float:
        batch = [prompts[row] for row in rows[processes.share(len(rows))]]
        loss = 0.0
        # A step's prompts go through the model in groups of like length; their gradients add up.
        for group in token_batches(np.array([len(e.prompt) + len(e.answer) for e in batch]), _at_once(model, settings)):
            with autocast_bf16(device):
                part = answer_loss(model, [batch[row] for row in group], tokenizer.pad_token_id) / len(rows)
            part.backward()
            loss += float(part.detach())
        return loss

    # By likelihoods, whatever way answers are given when it serves.
    validators = [
        validator(
            make_ranker(model, tokenizer, domain.catalogue, settings, seed, device, finder),
            domain,
            settings,
            seed,
            device,
            processes,
        )
        for domain in domains
        if len(domain.validation.targets)
    ]

    def validate() -> float:
        return float(np.mean([validated() for validated in validators]))

    name = _label([domain.name for domain in domains], seed)
    plan = TrainingPlan(name, steps, settings.validate_every * len(domains), budget.patience)
    record = train_adapter(model, settings, plan, iter(batches), gradients, validate, folder, context)
    tokens = sum(len(e.prompt) + len(e.answer) for e in prompts)
    return replace(record, notes={**record.notes, "prompts": len(prompts), "tokens": tokens})


def make_ranker(
    model: nn.Module,
    tokenizer: Any,
    catalogue: Catalogue,
    settings: RankerSettings,
    seed: int,
    device: str,
    finder: Backbone,
    by_list: bool = False,
    reordered: int = 0,
) -> Ranker:
    """A ranker of a catalogue's items.

    Args:
        model: a decoder-only model with its logits, on the device.
        tokenizer: its tokenizer.
        catalogue: the items.
        settings: of the ranker.
        seed: of the order of candidates.
        device: of the model.
        finder: the backbone that retrieves candidates from the whole catalogue.
        by_list: read the list that the model writes, instead of likelihoods.
        reordered: number of users whose candidates are also shown in a second order; see `Ranker`.
    """
    return Ranker(
        model,
        tokenizer,
        catalogue,
        candidate_finder(catalogue, finder, device),
        settings.prompt,
        seed,
        by_list,
        # Nothing but keys and values is kept of what is read for a list.
        at_once=8 * settings.most_tokens,
        reordered=reordered,
    )


def candidate_finder(catalogue: Catalogue, backbone: Backbone, device: str) -> DotProduct:
    """The untrained retriever that finds a ranker's candidates in a whole catalogue."""
    model, tokenizer = load(backbone)
    return retriever(model.to(device), history_encoder(backbone, catalogue, tokenizer, RetrieverSettings()))


def validator(
    ranker: Ranker,
    domain: DomainTraining,
    settings: RankerSettings,
    seed: int,
    device: str,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> Callable[[], float]:
    """A function that estimates a ranker's NDCG@10 on a domain's validation events; each process ranks its share.

    The model is asked about at most `validation_users` events, drawn with the seed. It reorders the retriever's best
    candidates, and all other items keep their order. So an item behind as many others as are reordered, and behind ten
    at least, is never among the first ten, and the model need not be asked about it.
    """
    validation = domain.validation
    above = rank_full(ranker.retriever, validation, len(domain.catalogue)).above
    reachable = np.flatnonzero(above < max(settings.prompt.candidates, _CUTOFF))
    drawn = reachable[np.random.default_rng(seed).permutation(len(reachable))[: settings.validation_users]]
    events = _select(validation, np.sort(drawn))
    share_reachable = len(reachable) / len(above)

    def validate() -> float:
        share = _select(events, processes.share(len(events.targets)))
        with autocast_bf16(device):
            gain = ndcg(rank_full(ranker, share, len(ranker.catalogue)), _CUTOFF).sum() if len(share.targets) else 0.0
        return share_reachable * processes.total(float(gain)) / max(1, len(events.targets))

    return validate


def _select(held_out: HeldOut, rows: Ints) -> HeldOut:
    return HeldOut(held_out.histories.select(rows), held_out.targets[rows], held_out.times[rows])


def weights_dtype(settings: RankerSettings) -> torch.dtype:
    """The precision of the backbone's weights."""
    dtype: torch.dtype = getattr(torch, settings.weights)
    return dtype
