"""RecBole's sequential models as methods: ID-based, on the target alone or on all domains in one catalogue."""

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from baselines.recbole_models.building import Loss, RecBoleSettings, sequential_models
from baselines.recbole_models.corpus import Corpus
from baselines.recbole_models.parameters import check_parameters
from baselines.recbole_models.training import load_scorer, train_model
from baselines.recbole_models.training_paths import check_negatives
from harness.errors import HarnessError, UnavailableError
from harness.methods.api import FitContext, Scorer
from harness.methods.artefact import Artefact
from harness.protocol.split import TrainingData
from harness.protocol.suite import Budget
from harness.tuning.space import Space
from harness.tuning.tunable import with_settings


@dataclass(frozen=True)
class RecBoleMethod:
    """One of RecBole's sequential models.

    Attributes:
        settings: of the model and its training.
        space: settings that can be tuned.
        joint: whether it is trained on the target and all sources in one catalogue (naive joint training).
        reference: the method with the same model on the target alone.
    """

    settings: RecBoleSettings
    space: Space
    joint: bool = False
    reference: str | None = None

    def learns_from(self, target: str, sources: tuple[str, ...]) -> tuple[str, ...]:
        """The domains it is trained on."""
        return (target, *sources) if self.joint else (target,)

    def tuned(self, chosen: Mapping[str, Any]) -> "RecBoleMethod":
        """A copy of the method with other settings from its space."""
        settings = with_settings(self.settings, chosen)
        check_parameters(settings)
        return replace(self, settings=settings)

    def check_data(self, data: TrainingData) -> None:
        """Check that negatives can be drawn for every user, if the loss needs them."""
        check_negatives(self.settings, self._corpus(data))

    def artefacts(self, data: TrainingData, budget: Budget, seed: int) -> list[Artefact]:
        """The trained model; the same one serves each domain of its corpus as the target."""
        corpus = self._corpus(data)
        domains = [part.domain for part in corpus.parts]
        return [
            Artefact(
                kind="recbole",
                label=f"{self._label} on {' + '.join(domain.name for domain in domains)}, seed {seed}",
                inputs={
                    "domains": [domain.identity for domain in domains],
                    "settings": asdict(self.settings),
                    "budget": budget.training_limits,
                    "seed": seed,
                },
                make=partial(train_model, self.settings, corpus, budget, seed),
            )
        ]

    def fit(self, data: TrainingData, context: FitContext) -> Scorer:
        """Train the model unless it is in the store, and load its best weights."""
        (artefact,) = self.artefacts(data, context.budget, context.seed)
        folder = context.artefacts.get_or_train(artefact)
        corpus = self._corpus(data)
        part = next(part for part in corpus.parts if part.domain.name == data.target)
        return load_scorer(self.settings, corpus, part, folder, context.device)

    @property
    def _label(self) -> str:
        loss = self.settings.loss
        return self.settings.model if loss in (None, "CE") else f"{self.settings.model} ({loss})"

    def _corpus(self, data: TrainingData) -> Corpus:
        names = self.learns_from(data.target, data.sources)
        # Sorted, so that one model serves whichever of its domains is the target.
        return Corpus.of(*sorted((data.domains[name] for name in names), key=lambda domain: domain.identity))


def _method(space: str, model: str, loss: Loss | None = None, joint_with: str | None = None) -> RecBoleMethod:
    """A method with the settings of the first trial of its tuning."""
    # find_spec does not import recbole, which takes seconds.
    if importlib.util.find_spec("recbole") is None:
        raise UnavailableError("RecBole is not installed.", "Install it: make install.")
    search_space = Space.of_package("baselines", space)
    settings = with_settings(RecBoleSettings(model, loss), search_space.first())
    return RecBoleMethod(settings, search_space, joint_with is not None, joint_with)


def sasrec() -> RecBoleMethod:
    """SASRec with cross-entropy (Kang and McAuley, ICDM 2018; RecBole's variant of it)."""
    return _method("sasrec", "SASRec", "CE")


def sasrec_masked() -> RecBoleMethod:
    """SASRec with cross-entropy over the catalogue less what the user has had, as in the evaluation."""
    return _method("sasrec", "SASRec", "masked CE")


def joint_sasrec_masked() -> RecBoleMethod:
    """`sasrec-masked` on all domains in one catalogue."""
    return _method("sasrec", "SASRec", "masked CE", joint_with="sasrec-masked")


def sasrec_bce() -> RecBoleMethod:
    """SASRec with binary cross-entropy and one negative, as in its paper."""
    return _method("sasrec", "SASRec", "BCE")


def joint_sasrec() -> RecBoleMethod:
    """SASRec with cross-entropy on all domains in one catalogue."""
    return _method("sasrec", "SASRec", "CE", joint_with="sasrec")


def gru4rec() -> RecBoleMethod:
    """GRU4Rec with cross-entropy (Hidasi et al., ICLR 2016; RecBole's variant of it)."""
    return _method("gru4rec", "GRU4Rec", "CE")


def joint_gru4rec() -> RecBoleMethod:
    """GRU4Rec with cross-entropy on all domains in one catalogue."""
    return _method("gru4rec", "GRU4Rec", "CE", joint_with="gru4rec")


def bert4rec() -> RecBoleMethod:
    """BERT4Rec (Sun et al., CIKM 2019; RecBole's variant of it)."""
    return _method("bert4rec", "BERT4Rec")


def fdsa() -> RecBoleMethod:
    """FDSA, which reads item attributes besides ids: here, words of the texts (Zhang et al., IJCAI 2019)."""
    return _method("sasrec", "FDSA")


def by_name(model: str) -> RecBoleMethod:
    """Any of RecBole's sequential models, with RecBole's defaults.

    Raises:
        HarnessError: RecBole has no such model.
    """
    if model not in sequential_models():
        raise HarnessError.unknown("sequential model of RecBole", model, sequential_models())
    return _method("recbole", model)
