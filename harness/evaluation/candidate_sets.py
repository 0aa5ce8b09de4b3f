"""Candidate sets: whom the held-out item is ranked among, by the names that suite files write.

A candidate set is a class with a name and a method that ranks. It is found by the entry point group
`cdsr_harness.candidate_sets`; an entry point `popular-N` gets the number of `popular-50`. For negatives that are drawn,
return a `DrawnCandidates` with a function that draws them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from harness.data.domain import Ints
from harness.errors import HarnessError
from harness.evaluation.ann_index import IndexReport
from harness.evaluation.rank_scorer import rank_and_recommend, rank_candidates, rank_full, rank_retrieved
from harness.extensions import load_extension
from harness.methods.api import Scorer, VectorScorer
from harness.methods.artefact import StepCallback, no_progress
from harness.protocol.candidate_names import find_candidate_set
from harness.protocol.negatives import candidates_digest, sample_candidates
from harness.protocol.ranks import Ranks
from harness.protocol.split import DomainTraining, HeldOut
from harness.storage.code_identity import bound_values, code_digest
from harness.storage.files import digest
from harness.storage.store import Store


@dataclass(frozen=True)
class RankContext:
    """What ranking depends on beside the scorer and the data.

    Attributes:
        store: where drawn candidates are kept.
        seed: the suite's seed for drawn candidates.
        least_recall: what an approximate index must find of what an exact one finds.
        list_length: items in each user's recommendation list; 0 for no lists.
        report: progress callback, (users ranked, users).
    """

    store: Store
    seed: int = 0
    least_recall: float = 0.99
    list_length: int = 0
    report: StepCallback = no_progress


@dataclass(frozen=True)
class Ranking:
    """A scorer's ranks among one candidate set.

    Attributes:
        ranks: of n_users held-out items.
        digest: SHA-256 of the table of drawn candidates; None if nothing is drawn.
        index: the index that retrieved the candidates, and its recall.
        recommendations: int64 [n_users, list_length], the best items of the catalogue outside the history, -1 after
            the last; None if they were not asked for.
        validity: of a scorer that writes its answers, how many there were and the share with each fault.
        prompt_order: of a scorer that shows candidates in a prompt, what another order changes.
    """

    ranks: Ranks
    digest: str | None = None
    index: IndexReport | None = None
    recommendations: Ints | None = None
    validity: Mapping[str, float] = field(default_factory=dict)
    prompt_order: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class NotApplicable:
    """Why a scorer cannot be ranked among a candidate set, for the board."""

    reason: str


class CandidateSet(Protocol):
    """A rule that says which items each held-out item is ranked among.

    Attributes:
        name: as suite files and boards write it.
        description: for the board's footnotes; empty for none.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def description(self) -> str: ...  # noqa: D102

    def rank(
        self, scorer: Scorer, test: HeldOut, target: DomainTraining, context: RankContext
    ) -> Ranking | NotApplicable:
        """Ranks each test user's held-out item.

        Raises:
            HarnessError: the data do not allow this candidate set.
            InvalidScoresError: NaN, or scores of the wrong shape or type.
        """
        ...


@runtime_checkable
class PreparesCandidates(Protocol):
    """A candidate set that depends on no scorer: it is drawn and checked before anything is trained."""

    def prepare(self, test: HeldOut, target: DomainTraining, seed: int, store: Store) -> str:
        """Draws and stores the candidates, unless that was done.

        Returns:
            SHA-256 (hex) of the table of candidates.

        Raises:
            HarnessError: some user has too few items to draw from.
        """
        ...

    def digest(self, test: HeldOut, target: DomainTraining, seed: int) -> str:
        """SHA-256 (hex) of the table of candidates, drawn anew without a store."""
        ...


@dataclass(frozen=True)
class Full:
    """The whole catalogue, less the items in the user's history; the held-out item always stays."""

    name: str = "full"
    description: str = ""

    def rank(self, scorer: Scorer, test: HeldOut, target: DomainTraining, context: RankContext) -> Ranking:
        """Ranks in blocks of users, and takes the recommendation lists from the same scores."""
        n_items = len(target.catalogue)
        if not context.list_length:
            return Ranking(rank_full(scorer, test, n_items, report=context.report))
        ranks, lists = rank_and_recommend(scorer, test, n_items, context.list_length, context.report)
        return Ranking(ranks, recommendations=lists)


@dataclass(frozen=True)
class FullHistoryKept:
    """The whole catalogue with the history, as RecBole ranks for sequential models."""

    name: str = "full-history-kept"
    description: str = ""

    def rank(self, scorer: Scorer, test: HeldOut, target: DomainTraining, context: RankContext) -> Ranking:
        """Ranks in blocks of users."""
        return Ranking(rank_full(scorer, test, len(target.catalogue), keep_history=True, report=context.report))


@dataclass(frozen=True)
class DrawnCandidates:
    """Candidates that are drawn once for (domain, split, seed), stored, and the same for every method.

    Attributes:
        name: as suite files and boards write it.
        draw: gives int64 [n_users, n_candidates] of the test events, the target's training data and a seed; each row
            holds the held-out item once.
        description: for the board's footnotes; empty for none.
    """

    name: str
    draw: Callable[[HeldOut, DomainTraining, int], Ints]
    description: str = ""

    def rank(self, scorer: Scorer, test: HeldOut, target: DomainTraining, context: RankContext) -> Ranking:
        """Ranks among the stored candidates."""
        candidates = self._stored(test, target, context.seed, context.store)
        ranks = rank_candidates(scorer, test, candidates, len(target.catalogue), context.report)
        return Ranking(ranks, candidates_digest(candidates))

    def prepare(self, test: HeldOut, target: DomainTraining, seed: int, store: Store) -> str:
        """Draws and stores the candidates, unless that was done; gives the digest of their table."""
        return candidates_digest(self._stored(test, target, seed, store))

    def digest(self, test: HeldOut, target: DomainTraining, seed: int) -> str:
        """The digest of the candidates' table, drawn anew without a store."""
        return candidates_digest(self._drawn(test, target, seed))

    def _drawn(self, test: HeldOut, target: DomainTraining, seed: int) -> Ints:
        candidates = self.draw(test, target, seed)
        held_out = (candidates == test.targets[:, None]).sum(axis=1)
        if (held_out != 1).any():
            raise HarnessError(
                f"{self.name}: the held-out item is not among the candidates once for "
                f"{int((held_out != 1).sum()):,} of {len(held_out):,} users.",
                "Fix the function that draws them.",
            )
        return candidates

    def _stored(self, test: HeldOut, target: DomainTraining, seed: int, store: Store) -> Ints:
        key = digest(
            {
                "data": target.identity,
                "users": test.histories.users.tolist(),  # a suite may draw some of the test users
                "name": self.name,
                "seed": seed,
                "code": code_digest(self.draw),
                "values": bound_values(self.draw),
            }
        )
        if not store.has("candidates", key):
            candidates = self._drawn(test, target, seed)
            with store.write("candidates", key, {"label": f"{self.name} of {target.name}"}) as folder:
                np.save(folder / "candidates.npy", candidates, allow_pickle=False)
        loaded: Ints = np.load(store.read("candidates", key).folder / "candidates.npy", allow_pickle=False)
        return loaded


def sampled(n: int) -> DrawnCandidates:
    """`sampled-N`: the held-out item and N - 1 uniform negatives outside the history."""
    return DrawnCandidates(f"sampled-{n}", partial(_draw_uniform, n))


def _draw_uniform(n: int, test: HeldOut, target: DomainTraining, seed: int) -> Ints:
    return sample_candidates(test.histories.sequences, test.targets, len(target.catalogue), n, seed)


@dataclass(frozen=True)
class Retrieved:
    """`retrieved-N`: the N nearest items outside the history that an index over the scorer's item vectors returns."""

    size: int
    description: str = ""

    @property
    def name(self) -> str:
        """As suite files and boards write it."""
        return f"retrieved-{self.size}"

    def rank(
        self, scorer: Scorer, test: HeldOut, target: DomainTraining, context: RankContext
    ) -> Ranking | NotApplicable:
        """Retrieves and ranks; a held-out item that is not retrieved is a miss."""
        del target
        if not isinstance(scorer, VectorScorer):
            return NotApplicable("no item vectors to retrieve with")
        ranks, index = rank_retrieved(scorer, test, self.size, context.least_recall, report=context.report)
        return Ranking(ranks, index=index)


def make_candidate_set(name: str) -> CandidateSet:
    """The candidate set that a suite file names.

    Raises:
        HarnessError: there is no such candidate set, or it cannot be made.
        UnavailableError: its package cannot be imported.
    """
    entry, n = find_candidate_set(name)
    factory = load_extension(entry)
    candidate_set: CandidateSet = factory(n) if n else factory()
    if candidate_set.name != name:
        raise HarnessError(
            f"The candidate set {name!r} of {entry.value} calls itself {candidate_set.name!r}.",
            "Report it to its authors: boards and suite files must write one name.",
        )
    return candidate_set


def candidate_sets_code(names: Iterable[str]) -> str:
    """SHA-256 (hex) of the code of some candidate sets, which decides the results of runs that use them."""
    return digest([[name, code_digest(load_extension(find_candidate_set(name)[0]))] for name in sorted(names)])
