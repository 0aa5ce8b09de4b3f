"""Choosing a merging rule's parameters on the target's validation events."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.methods.artefact import Artefact, Artefacts, MakeContext
from harness.storage.code_identity import bound_values
from harness.storage.files import file_digest
from harness.training.record import TrainingRecord
from harness.tuning.tunable import with_settings
from weaverec.merging.api import Component, MergeContext, MergeRule
from weaverec.merging.task_vectors import TaskVector

#: A rule's parameters, as JSON values.
Parameters = Mapping[str, Any]

#: How many parameter settings a rule may try on validation: the same for every rule.
TRIES = 6

_FILE = "merge.json"


class GridSearch:
    """A rule with the parameters that reach the best NDCG@10 on the target's validation events.

    The search is an artefact: it runs once, and later runs read its choice. Ties go to the earlier choice.
    """

    def __init__(
        self,
        rule: MergeRule,
        choices: Sequence[Parameters] | Callable[[int], Sequence[Parameters]],
        name: str | None = None,
    ) -> None:
        """Sets what is searched.

        Args:
            rule: a frozen dataclass with the parameters as fields.
            choices: at most `TRIES` settings of some of its fields, or a function that returns them for a number of
                components. The only choice of a single one is taken without a search.
            name: in results; that of the rule by default.
        """
        self.rule, self.choices, self.name = rule, choices, name or rule.name

    def merge(self, components: Sequence[Component], context: MergeContext) -> TaskVector:
        """The rule's merge with the best parameters."""
        choices = self.choices_for(len(components))
        if len(choices) == 1:
            chosen = choices[0]
        else:
            chosen = read_choice(context.artefacts.get_or_train(self.artefact(components, context)))
        return with_settings(self.rule, chosen).merge(components, context)

    def choices_for(self, n: int) -> list[Parameters]:
        """The choices for n components.

        Raises:
            HarnessError: there are none, or more than every rule may try.
        """
        choices = list(self.choices(n) if callable(self.choices) else self.choices)
        if not 1 <= len(choices) <= TRIES:
            raise HarnessError(
                f"The merging rule {self.name} has {len(choices)} choices of parameters.",
                f"Give 1 to {TRIES}: every rule has the same budget of validations.",
            )
        return choices

    def artefact(self, components: Sequence[Component], context: MergeContext) -> Artefact:
        """The artefact of the choice."""
        choices = self.choices_for(len(components))
        return Artefact(
            kind="merge",
            label=f"{self.name} for {context.target.name}: {component_labels(components)}",
            inputs={
                "rule": self.name,
                # The rule's own parameters, wherever it keeps them.
                "holds": bound_values(self.rule),
                "choices": [dict(choice) for choice in choices],
                **merge_inputs(components, context),
            },
            make=partial(_search, self.rule, self.name, choices, list(components), detached(context)),
            made_from=component_artefacts(components),
        )


def component_labels(components: Sequence[Component]) -> str:
    """What components are called in the label of an artefact that is made from them."""
    return "; ".join(c.name if c.artefact is None else c.artefact.label for c in components)


def component_artefacts(components: Sequence[Component]) -> tuple[Artefact, ...]:
    """The artefacts of components: how they were trained is part of the key of what is made from them."""
    return tuple(component.artefact for component in components if component.artefact is not None)


def merge_inputs(components: Sequence[Component], context: MergeContext) -> dict[str, Any]:
    """What an artefact of a merge depends on besides the components' artefacts, as JSON values."""
    data = context.data
    return {
        "target": context.target.identity,
        "domains": [data.domains[name].identity for name in (data.target, *data.sources)],
        "seed": context.seed,
        "files": [file_digest(c.folder / "adapter_model.safetensors") for c in components if c.artefact is None],
    }


def detached(context: MergeContext, device: str = "cpu") -> MergeContext:
    """A context to make an artefact with: its artefacts are refused, as where they are kept decides no content."""
    return replace(context, device=device, artefacts=_NoArtefacts())


class _NoArtefacts(Artefacts):
    """Refuses artefacts while another is made."""

    def get_or_train(self, artefact: Artefact) -> Path:
        raise HarnessError(
            f"{artefact.label} is needed while a merging rule's parameters are searched.",
            "Search a rule that needs no artefacts.",
        )


def read_choice(folder: Path) -> Any:
    """The parameters that were chosen."""
    return json.loads((folder / _FILE).read_text(encoding="utf-8"))["chosen"]


def write_choice(folder: Path, chosen: Any) -> None:
    """Writes chosen parameters, as JSON values, for `read_choice`."""
    (folder / _FILE).write_text(json.dumps({"chosen": chosen}, indent=1), encoding="utf-8")


def _search(
    rule: MergeRule,
    name: str,
    choices: list[Parameters],
    components: list[Component],
    context: MergeContext,
    folder: Path,
    make_context: MakeContext,
) -> TrainingRecord:
    context = detached(context, make_context.device)
    scores = []
    for number, choice in enumerate(choices, start=1):
        vars(context).pop("rng", None)  # cached: each try draws from the seed, as the merge that is served does
        scores.append(context.validate(with_settings(rule, choice).merge(components, context)))
        make_context.report(number, len(choices))
    best = scores.index(max(scores))
    write_choice(folder, choices[best])
    notes = {"rule": name, "chosen": dict(choices[best]), "tried": [dict(choice) for choice in choices]}
    return TrainingRecord(tuple(scores), 0, 0, 0, notes)
