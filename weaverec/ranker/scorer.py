"""A decoder-only model as a ranker of candidates, by likelihood or by the list it writes.

*Likelihood*: a candidate's score is the mean log-probability of the tokens of its title as the answer's first line.
(The sum would favour short titles. The mean favours long ones somewhat: once a title has begun, its other tokens can be
copied from the prompt, and are nearly sure; Bao et al., EMNLP 2024, call them ghost tokens.)
Every candidate gets a score, and no answer can be lost to parsing. The prompt, which is nearly all of the tokens, goes
through the model once a user, and its keys and values serve all candidates.

*List*: the model writes the five titles that the prompt asks for, greedily, as WeaveRec's authors have it. What the
answer does not name is not recommended (-inf): held out, it is a miss. So is a title that is no candidate's.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import StoppingCriteria, StoppingCriteriaList

from harness.data.domain import Catalogue, Ints
from harness.methods.api import DotProduct, Floats32
from harness.protocol.split import Histories
from weaverec.lm.backbone import autocast_bf16
from weaverec.lm.batching import padded, token_batches
from weaverec.ranker.prompt import END_OF_TITLE, PromptSettings, prompt_tokens, shown_titles, shuffled, title_tokens

#: What a written answer can be guilty of.
FAULTS = ("outside the candidates", "named twice", "short", "nothing usable", "title of several candidates")


@dataclass
class Ranker:
    """Scores given candidates; of a whole catalogue, those that a retriever finds first.

    Attributes:
        model: a decoder-only model with its logits.
        tokenizer: its tokenizer.
        catalogue: the target's items.
        retriever: finds the candidates where the whole catalogue is asked for.
        settings: of the prompt.
        seed: of the order in which candidates are offered.
        by_list: read the list that the model writes, instead of likelihoods.
        max_new_tokens: of a written answer.
        at_once: tokens of prompts that are answered together.
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
    _faults: Counter[str] = field(default_factory=Counter)

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores: float32 [n_users, n_candidates].

        A prompt offers at most `settings.candidates` items. Of more, or with candidates of None, of each user's items
        outside the history, the model ranks the retriever's best. By likelihood they stand above all others, which
        keep the retriever's order; by list, only what the list names is recommended. An item that is held out although
        the history holds it is not offered.
        """
        if candidates is not None and candidates.shape[1] <= self.settings.candidates:
            return np.stack(self._ranked(histories, list(candidates)))
        scores = self.retriever.score(histories, candidates)
        open_to = scores.copy()
        if candidates is None:
            open_to[histories.sequences.users, histories.sequences.items] = -np.inf
        first = np.argsort(-open_to, axis=1, kind="stable")[:, : self.settings.candidates]
        # A user may have fewer items left than are asked for, or none; it must not hang on who else is asked.
        places = [np.sort(found[np.isfinite(open_to[row, found])]) for row, found in enumerate(first)]
        offered = places if candidates is None else [candidates[row, found] for row, found in enumerate(places)]
        above = scores.max(axis=1)
        if self.by_list:
            scores[:] = -np.inf
        for row, ranked in enumerate(self._ranked(histories, offered)):
            if len(ranked):
                scores[row, places[row]] = ranked if self.by_list else above[row] + 1 + ranked - ranked.min()
        return scores

    def item_vectors(self) -> Floats32:
        """The retriever's: FAISS finds candidates with them, which `score` then reorders."""
        return self.retriever.item_vectors()

    def history_vectors(self, histories: Histories) -> Floats32:
        """The retriever's."""
        return self.retriever.history_vectors(histories)

    def validity(self) -> Mapping[str, float]:
        """Of the answers written since it was last asked: how many, and the share with each fault."""
        answers, found = self._faults["answers"], {fault: self._faults[fault] for fault in FAULTS}
        self._faults.clear()
        return {"answers": float(answers), **{fault: count / max(1, answers) for fault, count in found.items()}}

    def _ranked(self, histories: Histories, candidates: Sequence[Ints]) -> list[Floats32]:
        """Scores of each user's candidates, float32 of their number; who has none is asked nothing."""
        found = [np.zeros(0, dtype=np.float32) for _ in candidates]
        asked = [row for row, own in enumerate(candidates) if len(own)]
        offered = [shuffled(candidates[row], int(histories.users[row]), self.seed) for row in asked]
        prompts = [
            prompt_tokens(self.catalogue.texts, histories.sequences[row], own, self.tokenizer, self.settings)
            for row, own in zip(asked, offered, strict=True)
        ]
        with autocast_bf16(next(self.model.parameters()).device.type):
            scores = self._by_list(prompts, offered) if self.by_list else self._by_likelihood(prompts, offered)
            for row, own, ranked in zip(asked, offered, scores, strict=True):
                place = {item: index for index, item in enumerate(own.tolist())}
                found[row] = ranked[[place[item] for item in candidates[row].tolist()]].astype(np.float32)
        return found

    def _by_likelihood(self, prompts: Sequence[list[int]], offered: Sequence[Ints]) -> Iterator[Floats32]:
        for prompt, own in zip(prompts, offered, strict=True):
            answers = title_tokens(self.catalogue.texts, own, self.tokenizer, self.settings)
            yield likelihoods(self.model, prompt, answers).cpu().numpy()

    def _by_list(self, prompts: Sequence[list[int]], offered: Sequence[Ints]) -> Iterator[Floats32]:
        for answer, own in zip(self._write(prompts), offered, strict=True):
            titles = shown_titles(self.catalogue.texts, own, self.tokenizer, self.settings)
            scores, faults = read_list(answer, titles, self.settings.answers)
            self._faults.update(["answers", *faults])
            yield scores

    def _write(self, prompts: Sequence[list[int]]) -> list[str]:
        """The model's answers, up to as many lines as are asked for: prompts of like length are answered together."""
        answers = [""] * len(prompts)
        model: Any = self.model
        device = next(self.model.parameters()).device
        for rows in token_batches(np.array([len(prompt) for prompt in prompts]), self.at_once):
            own = [prompts[row] for row in rows]
            ids, mask = (part.to(device) for part in padded(own, self.tokenizer.pad_token_id, left=True))
            with torch.no_grad():
                written = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=False,
                    # Chat models' own settings penalise what was written before: here, the candidates' titles.
                    repetition_penalty=1.0,
                    max_new_tokens=self.max_new_tokens,
                    pad_token_id=self.tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList(
                        [_Listed(self.tokenizer, ids.shape[1], self.settings.answers)]
                    ),
                )
            found = self.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
            for row, answer in zip(rows, found, strict=True):
                answers[row] = answer
        return answers


class _Listed(StoppingCriteria):
    """Ends each answer after so many lines."""

    def __init__(self, tokenizer: Any, start: int, wanted: int) -> None:
        self._tokenizer, self._start, self._wanted = tokenizer, start, wanted

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Whose answers have all their lines: bool [n]."""
        latest = self._tokenizer.batch_decode(input_ids[:, -1:])
        done = [
            END_OF_TITLE in text and self._lines(row) >= self._wanted
            for row, text in zip(input_ids, latest, strict=True)
        ]
        return torch.tensor(done, device=input_ids.device)

    def _lines(self, row: torch.Tensor) -> int:
        ended = self._tokenizer.decode(row[self._start :], skip_special_tokens=True).split(END_OF_TITLE)[:-1]
        return sum(bool(line.strip()) for line in ended)


def likelihoods(
    model: nn.Module, prompt: Sequence[int], answers: Sequence[Sequence[int]], cached: bool = True
) -> torch.Tensor:
    """The mean log-probability of each answer's tokens after a prompt: float32 [n].

    Args:
        model: a decoder-only model with logits.
        prompt: its tokens.
        answers: n answers' tokens, each at least one.
        cached: run the prompt once for all answers; otherwise once for each, which gives the same and takes longer.
    """
    from transformers import DynamicCache

    network: Any = model
    device = next(model.parameters()).device
    ids, mask = (part.to(device) for part in padded(answers, 0))
    start = torch.tensor([list(prompt)], device=device)
    with torch.no_grad():
        if not cached:
            whole = torch.cat([start.expand(len(answers), -1), ids], dim=1)
            seen = torch.cat([torch.ones_like(start).expand(len(answers), -1), mask], dim=1)
            logits = network(input_ids=whole, attention_mask=seen).logits[:, len(prompt) - 1 : -1]
        else:
            cache = DynamicCache(config=network.config)
            # Only the last token's logits are needed: those of a long prompt would be its length times the vocabulary.
            first = network(input_ids=start, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            logits = first.expand(len(answers), -1, -1)
            if ids.shape[1] > 1:
                cache.batch_repeat_interleave(len(answers))
                seen = torch.cat([torch.ones_like(start).expand(len(answers), -1), mask[:, :-1]], dim=1)
                rest = network(input_ids=ids[:, :-1], attention_mask=seen, past_key_values=cache, use_cache=True).logits
                logits = torch.cat([logits, rest], dim=1)
    log_p = torch.log_softmax(logits.float(), dim=-1).gather(2, ids.unsqueeze(-1)).squeeze(-1)
    return (log_p * mask).sum(1) / mask.sum(1)


def read_list(answer: str, offered: Sequence[str], wanted: int) -> tuple[Floats32, list[str]]:
    """The scores that a written list gives its candidates, and what is wrong with it.

    A candidate whose title is the k-th of the list has the score wanted - k, one that is not named -inf. Candidates
    of one title share its place, so they tie. Titles are compared without regard to spaces around them and to case,
    and a number before a title, as the prompt's list has it, is no fault.

    Args:
        answer: what the model wrote, one title a line.
        offered: the candidates' titles.
        wanted: titles that were asked for; lines after so many are not read.

    Returns:
        float32 [n_candidates], and the faults, each once.
    """
    named: dict[str, list[int]] = {}
    for index, title in enumerate(offered):
        named.setdefault(_plain(title), []).append(index)
    scores = np.full(len(offered), -np.inf, dtype=np.float32)
    faults: set[str] = set()
    lines = [line for line in answer.split(END_OF_TITLE) if line.strip()][:wanted]
    for place, line in enumerate(lines):
        places = named.get(_plain(line), named.get(_plain(_NUMBER.sub("", line))))
        if places is None:
            faults.add("outside the candidates")
        elif np.isfinite(scores[places[0]]):
            faults.add("named twice")
        else:
            scores[places] = wanted - place
            if len(places) > 1:
                faults.add("title of several candidates")
    if len(lines) < wanted:
        faults.add("short")
    if not np.isfinite(scores).any():
        faults.add("nothing usable")
    return scores, sorted(faults)


#: What stands before a title in a numbered list.
_NUMBER = re.compile(r"^\s*\d+[.)]\s+")


def _plain(title: str) -> str:
    return " ".join(title.split()).casefold()
