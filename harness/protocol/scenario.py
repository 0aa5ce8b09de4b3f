"""What is run: scenarios, and suites as named, versioned lists of them. Plain data; YAML is read elsewhere."""

from dataclasses import dataclass

from harness.protocol.candidates import CandidateSet


@dataclass(frozen=True)
class Scenario:
    """One target domain and the source domains that may help.

    Attributes:
        name: such as `drama<-comedy+action`, without characters that file names forbid.
        target: the domain whose next items are predicted.
        sources: the other domains, at least one.
    """

    name: str
    target: str
    sources: tuple[str, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """The target, then the sources."""
        return (self.target, *self.sources)


@dataclass(frozen=True)
class DomainSpec:
    """Where a domain comes from, and what its content must be.

    Attributes:
        name: its name in the suite.
        source: a source's name, with `part` saying which of its domains.
        k_core: see `harness.data.prepare`.
        fingerprint: expected SHA-256 of the prepared content, or None where the suite does not pin it.
    """

    name: str
    source: str
    part: str
    k_core: int
    fingerprint: str | None


@dataclass(frozen=True)
class Budget:
    """What every trainable method is given, no more and no less.

    Attributes:
        trials: settings tried for each thing trained, the best by validation kept.
        epochs: cap on passes over the training data.
        patience: validations without a gain in NDCG@10 after which training stops.
    """

    trials: int
    epochs: int
    patience: int


@dataclass(frozen=True)
class Suite:
    """A named, versioned benchmark. Whatever can move a score is part of it."""

    name: str
    version: int
    title: str
    domains: tuple[DomainSpec, ...]
    scenarios: tuple[Scenario, ...]
    split: str
    candidates: tuple[CandidateSet, ...]
    candidate_seed: int
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
