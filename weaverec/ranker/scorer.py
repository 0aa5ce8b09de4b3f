"""A decoder-only model as a ranker of candidates, by likelihood or by the list it writes.

*Likelihood*: a candidate's score is the mean log-probability of the tokens of its title as the answer's first line.
(The sum would favour short titles. The mean favours long ones somewhat: once a title has begun, its other tokens can be
copied from the prompt and are nearly certain; Bao et al., EMNLP 2024, call them ghost tokens.)
Every candidate gets a score, and no answer is lost to parsing. See `weaverec.ranker.likelihood`.

*List*: the model writes the five titles that the prompt asks for, greedily, as WeaveRec's authors have it. Candidates
that the answer does not name are not recommended (score -inf): if the held-out item is one of them, it is a miss. So is
a title that is not a candidate's.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn
from transformers import StoppingCriteria, StoppingCriteriaList

from harness.data.domain import Catalogue, Ints
from harness.methods.api import DotProduct, Floats32
from harness.protocol.split import Histories
from weaverec.lm.backbone import autocast_bf16
from weaverec.lm.batching import padded, token_batches
from weaverec.ranker.likelihood import likelihoods
from weaverec.ranker.prompt import END_OF_TITLE, PromptSettings, prompt_tokens, shown_titles, shuffled, title_tokens

#: What can be wrong with a written answer.
FAULTS = ("outside the candidates", "named twice", "short", "nothing usable", "title of several candidates")


@dataclass
class Ranker:
    """Scores candidates; of a whole catalogue, those that a retriever finds first.

    Attributes:
        model: a decoder-only model with its logits.
        tokenizer: its tokenizer.
        catalogue: the target's items.
        retriever: finds the candidates in a whole catalogue.
        settings: of the prompt.
        seed: of the order of the candidates.
        by_list: read the list that the model writes, instead of likelihoods.
        max_new_tokens: of a written answer.
        at_once: number of tokens of the prompts that are answered together.
        reordered: number of users whose candidates, if they fit a prompt, are also ranked in a second order, for
            `prompt_order`; by likelihood of listed candidates only.
    """

    model: nn.Module
    tokenizer: Any
    catalogue: Catalogue
    retriever: DotProduct
    settings: PromptSettings
    seed: int = 0
    by_list: bool = False
    max_new_tokens: int = 800
    at_once: int = 65_536
    reordered: int = 0
    _faults: Counter[str] = field(default_factory=Counter)
    _orders: list[tuple[float, bool, bool]] = field(default_factory=list)

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores: float32 [n_users, n_candidates].

        At most `settings.candidates` items are ranked. Of more, or with candidates of None, of each user's items
        outside the history, the model ranks the retriever's best. By likelihood these stand above all others, which
        keep the retriever's order; by list, only what the list names is recommended. A held-out item that is also in
        the history is not offered.
        """
        if candidates is not None and candidates.shape[1] <= self.settings.candidates:
            return np.stack(self._rank(histories, list(candidates), self.reordered - len(self._orders)))
        scores = self.retriever.score(histories, candidates)
        allowed = scores.copy()
        if candidates is None:
            allowed[histories.sequences.users, histories.sequences.items] = -np.inf
        best = np.argsort(-allowed, axis=1, kind="stable")[:, : self.settings.candidates]
        # A user may have fewer items left than fit a prompt, or none; other users in the batch must not change that.
        columns = [np.sort(row_best[np.isfinite(allowed[row, row_best])]) for row, row_best in enumerate(best)]
        offered = columns if candidates is None else [candidates[row, each] for row, each in enumerate(columns)]
        highest = scores.max(axis=1)
        if self.by_list:
            scores[:] = -np.inf
        for row, ranked in enumerate(self._rank(histories, offered)):
            if len(ranked):
                scores[row, columns[row]] = ranked if self.by_list else highest[row] + 1 + ranked - ranked.min()
        return scores

    def item_vectors(self) -> Floats32:
        """The retriever's: FAISS finds candidates with them, which `score` then reorders."""
        return self.retriever.item_vectors()

    def history_vectors(self, histories: Histories) -> Floats32:
        """The retriever's."""
        return self.retriever.history_vectors(histories)

    def validity(self) -> Mapping[str, float]:
        """Of the answers written since the last call: how many, and the share with each fault."""
        answers, counts = self._faults["answers"], {fault: self._faults[fault] for fault in FAULTS}
        self._faults.clear()
        return {"answers": float(answers), **{fault: count / max(1, answers) for fault, count in counts.items()}}

    def prompt_order(self) -> Mapping[str, float]:
        """What the order of candidates in the prompt changed since the last call, for `reordered` users.

        Returns:
            `users`: their number; `kendall_tau`: mean over users of Kendall's tau-b between the rankings by two random
            orders, 1 if the order changes nothing, 0 for unrelated rankings; `other_first`: the share of users whose
            first item changes; `first_third`: the share whose first item is shown in the first third of the prompt.
        """
        users = len(self._orders)
        means = np.mean(self._orders, axis=0).tolist() if users else [0.0, 0.0, 0.0]
        self._orders.clear()
        return {"users": float(users), **dict(zip(("kendall_tau", "other_first", "first_third"), means, strict=True))}

    def _rank(self, histories: Histories, candidates: Sequence[Ints], reordered: int = 0) -> list[Floats32]:
        """Scores of each user's candidates, float32 of their number; a user without candidates is left out.

        The candidates of the first `reordered` users are also ranked in a second order.
        """
        scores = [np.zeros(0, dtype=np.float32) for _ in candidates]
        rows = [row for row, items in enumerate(candidates) if len(items)]
        offered = [shuffled(candidates[row], int(histories.users[row]), self.seed) for row in rows]
        in_order = self._scores(histories, rows, offered)
        for row, items, of_items in zip(rows, offered, in_order, strict=True):
            scores[row] = _of_items(of_items, items, candidates[row])
        if self.settings.listed and not self.by_list:
            self._compare_orders(histories, rows[:reordered], offered, in_order)
        return scores

    def _scores(self, histories: Histories, rows: Sequence[int], offered: Sequence[Ints]) -> list[Floats32]:
        """The scores of items that some users are offered, in the order in which they are."""
        prompts = [
            prompt_tokens(self.catalogue.texts, histories.sequences[row], items, self.tokenizer, self.settings)
            for row, items in zip(rows, offered, strict=True)
        ]
        with autocast_bf16(next(self.model.parameters()).device.type):
            ranked = self._by_list(prompts, offered) if self.by_list else self._by_likelihood(prompts, offered)
            return [of_items.astype(np.float32) for of_items in ranked]

    def _compare_orders(
        self, histories: Histories, rows: Sequence[int], offered: Sequence[Ints], in_order: Sequence[Floats32]
    ) -> None:
        """Rank the items of some users in a second random order, and keep what changed for `prompt_order`."""
        pairs = list(zip(offered, in_order, strict=True))[: len(rows)]
        rngs = [np.random.default_rng([self.seed, int(histories.users[row]), 1]) for row in rows]
        others = [rng.permutation(items) for rng, (items, _) in zip(rngs, pairs, strict=True)]
        in_other_order = self._scores(histories, rows, others)
        for (items, first), other, second in zip(pairs, others, in_other_order, strict=True):
            if len(items) > 1:
                second = _of_items(second, other, items)
                best = int(first.argmax())
                tau = float(kendalltau(first, second).statistic)
                self._orders.append((tau, best != int(second.argmax()), best < len(items) / 3))

    def _by_likelihood(self, prompts: Sequence[list[int]], offered: Sequence[Ints]) -> Iterator[Floats32]:
        for prompt, items in zip(prompts, offered, strict=True):
            answers = title_tokens(self.catalogue.texts, items, self.tokenizer, self.settings)
            yield likelihoods(self.model, prompt, answers).cpu().numpy()

    def _by_list(self, prompts: Sequence[list[int]], offered: Sequence[Ints]) -> Iterator[Floats32]:
        for answer, items in zip(self._write(prompts), offered, strict=True):
            titles = shown_titles(self.catalogue.texts, items, self.tokenizer, self.settings)
            scores, faults = read_list(answer, titles, self.settings.answers)
            self._faults.update(["answers", *faults])
            yield scores

    def _write(self, prompts: Sequence[list[int]]) -> list[str]:
        """The model's answers of at most `settings.answers` lines; prompts of similar length are answered together."""
        answers = [""] * len(prompts)
        model: Any = self.model
        device = next(self.model.parameters()).device
        for rows in token_batches(np.array([len(prompt) for prompt in prompts]), self.at_once):
            batch = [prompts[row] for row in rows]
            ids, mask = (part.to(device) for part in padded(batch, self.tokenizer.pad_token_id, left=True))
            with torch.no_grad():
                written = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=False,
                    # Chat models' own settings penalise repetition: here, of the candidates' titles in the prompt.
                    repetition_penalty=1.0,
                    max_new_tokens=self.max_new_tokens,
                    pad_token_id=self.tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList(
                        [_EnoughLines(self.tokenizer, ids.shape[1], self.settings.answers)]
                    ),
                )
            texts = self.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                answers[row] = text
        return answers


def _of_items(scores: Floats32, offered: Ints, items: Ints) -> Floats32:
    """The scores of offered items in the order of others: float32 of the number of `items`."""
    position = {item: index for index, item in enumerate(offered.tolist())}
    return scores[[position[item] for item in items.tolist()]]


class _EnoughLines(StoppingCriteria):
    """Ends each answer after a number of lines that are not blank."""

    def __init__(self, tokenizer: Any, start: int, n_lines: int) -> None:
        self._tokenizer, self._start, self._n_lines = tokenizer, start, n_lines

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Which answers are complete: bool [n]."""
        latest = self._tokenizer.batch_decode(input_ids[:, -1:])
        done = [
            END_OF_TITLE in text and self._count(row) >= self._n_lines
            for row, text in zip(input_ids, latest, strict=True)
        ]
        return torch.tensor(done, device=input_ids.device)

    def _count(self, row: torch.Tensor) -> int:
        ended = self._tokenizer.decode(row[self._start :], skip_special_tokens=True).split(END_OF_TITLE)[:-1]
        return sum(bool(line.strip()) for line in ended)


def read_list(answer: str, offered: Sequence[str], n_lines: int) -> tuple[Floats32, list[str]]:
    """The scores that a written list gives its candidates, and what is wrong with it.

    The candidate that is named in line k (from 0) has the score n_lines - k, one that is not named -inf. Candidates
    with the same title share its line, so they tie. Titles are compared without case and surrounding spaces, and a
    number before a title, as in the prompt's list, is allowed.

    Args:
        answer: what the model wrote, one title a line.
        offered: the candidates' titles.
        n_lines: titles that were asked for; further lines are not read.

    Returns:
        float32 [n_candidates], and the faults, each once.
    """
    named: dict[str, list[int]] = {}
    for index, title in enumerate(offered):
        named.setdefault(_normalised(title), []).append(index)
    scores = np.full(len(offered), -np.inf, dtype=np.float32)
    faults: set[str] = set()
    lines = [line for line in answer.split(END_OF_TITLE) if line.strip()][:n_lines]
    for number, line in enumerate(lines):
        indices = named.get(_normalised(line), named.get(_normalised(_NUMBER.sub("", line))))
        if indices is None:
            faults.add("outside the candidates")
        elif np.isfinite(scores[indices[0]]):
            faults.add("named twice")
        else:
            scores[indices] = n_lines - number
            if len(indices) > 1:
                faults.add("title of several candidates")
    if len(lines) < n_lines:
        faults.add("short")
    if not np.isfinite(scores).any():
        faults.add("nothing usable")
    return scores, sorted(faults)


#: The number before a title in a list.
_NUMBER = re.compile(r"^\s*\d+[.)]\s+")


def _normalised(title: str) -> str:
    return " ".join(title.split()).casefold()
