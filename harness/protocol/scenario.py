"""What is run: scenarios, and suites as named, versioned lists of them. Plain data; YAML is read elsewhere."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.data.sources import Source
from harness.files import digest
from harness.protocol.candidates import CandidateSet
from harness.protocol.metrics import CUTOFFS, METRICS


@dataclass(frozen=True)
class Scenario:
    """One target domain and the source domains that may help.

    Attributes:
        name: such as `drama-from-comedy+action`, without characters that file names forbid.
        target: the domain whose next items are predicted.
        sources: the other domains, at least one.
        split: one of `harness.protocol.split.SPLITS`.
        overlap: `kept`, or `none` to leave each shared user in one domain only.
        overlap_seed: seed of that draw.
        pins: (candidates, SHA-256) pairs that sampled candidates must have.
    """

    name: str
    target: str
    sources: tuple[str, ...]
    split: str = "leave-one-out"
    overlap: str = "kept"
    overlap_seed: int = 0
    pins: tuple[tuple[str, str], ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The target, then the sources."""
        return (self.target, *self.sources)


@dataclass(frozen=True)
class DomainSpec:
    """Where a domain comes from, and what its content must be.

    Attributes:
        name: its name in the suite.
        source: how it is read.
        k_core: see `harness.data.prepare`.
        fingerprint: expected SHA-256 of the prepared content, or None where the suite does not pin it.
        folder: its data folder, or None for that of the command.
    """

    name: str
    source: Source
    k_core: int
    fingerprint: str | None
    folder: Path | None = None


@dataclass(frozen=True)
class Budget:
    """What every trainable method is given, no more and no less.

    Attributes:
        trials: settings that the tuner tries for a method, the best by validation kept. The first are the method's
            defaults, so one trial is no tuning.
        epochs: cap on passes over the training data.
        patience: validations without a gain in NDCG@10 after which training stops.
    """

    trials: int
    epochs: int
    patience: int

    @property
    def of_a_training(self) -> dict[str, int]:
        """What of it decides the outcome of a single training."""
        return {"epochs": self.epochs, "patience": self.patience}


@dataclass(frozen=True)
class Suite:
    """A named, versioned benchmark. Whatever can move a score is part of it.

    Attributes:
        name: without the version.
        version: counts from 1.
        title: for people.
        domains: what there is.
        scenarios: what is asked.
        candidates: what held-out items are ranked among.
        candidate_seed: seed of the sampled ones.
        least_recall: an approximate index that finds less of what an exact one finds is refused.
        settings: by method, settings in which the suite departs from the method's own; a dot leads inside.
        tuned: the folder of settings found for it, which stands beside its file.
        folder: the folder of its file, where the paths in it start.
        methods: those that a run of the suite includes unless others are named.
        seeds: those that a run includes unless others are named.
        budget: of every trained method.
    """

    name: str
    version: int
    title: str
    domains: tuple[DomainSpec, ...]
    scenarios: tuple[Scenario, ...]
    candidates: tuple[CandidateSet, ...]
    candidate_seed: int
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    least_recall: float = 0.99
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Path = Path("no settings were tuned")
    folder: Path = Path()

    @property
    def id(self) -> str:
        """Name and version, such as `cdsr/v1`."""
        return f"{self.name}/v{self.version}"

    def spec(self, domain: str) -> DomainSpec:
        """The domain of that name."""
        return next(spec for spec in self.domains if spec.name == domain)

    @property
    def definition(self) -> dict[str, object]:
        """All that can move a score, as JSON values. Which methods and seeds are run moves none, nor do titles."""
        return {
            "suite": self.id,
            "domains": {
                spec.name: [spec.source.model_dump(mode="json"), spec.k_core, spec.fingerprint] for spec in self.domains
            },
            "scenarios": [asdict(scenario) for scenario in self.scenarios],
            "candidates": [str(kind) for kind in self.candidates],
            "candidate_seed": self.candidate_seed,
            "least_recall": self.least_recall,
            "metrics": [list(METRICS), list(CUTOFFS)],
            "budget": asdict(self.budget),
            # Suites that settle nothing are what they were before there was this entry.
            **({"settings": self.settings} if self.settings else {}),
        }

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the definition: results with different ones never stand in one table."""
        return digest(self.definition)
