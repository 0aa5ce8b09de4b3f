"""A decoder-only model as a ranker of candidates, by likelihood or by the list it writes.

*Likelihood*: a candidate's score is the mean log-probability of the tokens of its title as the answer's first line.
Every candidate gets a score, and no answer can be lost to parsing. The prompt, which is nearly all of the tokens, goes
through the model once a user, and its keys and values serve all candidates.

*List*: the model writes the five titles that the prompt asks for, greedily, as WeaveRec's authors have it. What the
answer does not name is not recommended (-inf): held out, it is a miss. So is a title that is no candidate's.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.data.domain import Catalogue, Ints
from harness.method import DotProduct, Floats32
from harness.protocol.split import Histories
from weaverec.backbone import half_where_it_pays
from weaverec.batching import padded
from weaverec.prompt import END_OF_TITLE, PromptSettings, prompt_tokens, shuffled, title_tokens

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
    """

    model: nn.Module
    tokenizer: Any
    catalogue: Catalogue
    retriever: DotProduct
    settings: PromptSettings
    seed: int = 0
    by_list: bool = False
    max_new_tokens: int = 800
    _faults: Counter[str] = field(default_factory=Counter)

    def score(self, histories: Histories, candidates: Ints | None) -> Floats32:
        """Scores: float32 [n_users, n_candidates].

        With candidates of None, the model ranks each user's `settings.candidates` best items outside the history by
        the retriever. By likelihood they stand above all others, which keep the retriever's order; by list, only
        what the list names is recommended. An item that is held out although the history holds it is not offered.
        """
        if candidates is not None:
            return np.stack([self._user(histories, row, own) for row, own in enumerate(candidates)])
        scores = self.retriever.score(histories, None)
        open_to = scores.copy()
        open_to[histories.sequences.users, histories.sequences.items] = -np.inf
        first = np.argsort(-open_to, axis=1, kind="stable")[:, : self.settings.candidates]
        above = scores.max(axis=1)
        for row, found in enumerate(first):
            # A user may have fewer items left than are asked for; it must not hang on who else is asked.
            own = np.sort(found[np.isfinite(open_to[row, found])])
            if self.by_list:
                scores[row] = -np.inf
            if not len(own):  # the user has the whole catalogue, and there is nothing to ask
                continue
            ranked = self._user(histories, row, own)
            scores[row, own] = ranked if self.by_list else above[row] + 1 + ranked - ranked.min()
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

    def _user(self, histories: Histories, row: int, candidates: Ints) -> Floats32:
        with half_where_it_pays(next(self.model.parameters()).device.type):
            return self._asked(histories, row, candidates)

    def _asked(self, histories: Histories, row: int, candidates: Ints) -> Floats32:
        offered = shuffled(candidates, int(histories.users[row]), self.seed)
        titles = self.catalogue.texts
        prompt = prompt_tokens(titles, histories.sequences[row], offered, self.tokenizer, self.settings)
        if self.by_list:
            scores = self._read(self._write(prompt), offered)
        else:
            scores = likelihoods(self.model, prompt, title_tokens(titles, offered, self.tokenizer)).cpu().numpy()
        place = {item: index for index, item in enumerate(offered.tolist())}
        return scores[[place[item] for item in candidates.tolist()]].astype(np.float32)

    def _write(self, prompt: list[int]) -> str:
        device = next(self.model.parameters()).device
        ids = torch.tensor([prompt], device=device)
        model: Any = self.model
        with torch.no_grad():
            written = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                # Chat models' own settings penalise what was written before: here, the candidates' titles.
                repetition_penalty=1.0,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return str(self.tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=True))

    def _read(self, answer: str, offered: Ints) -> Floats32:
        scores, faults = read_list(answer, [self.catalogue.texts[item] for item in offered], self.settings.answers)
        self._faults.update(["answers", *faults])
        return scores


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
