"""The public names of `weaverec`: `from weaverec import fold, task_vector, weighted_sum`.

- Task vectors: `task_vector`, `weighted_sum`, `by_layer`, `fold`, `folded`, `TaskVector`, `save_model`
- Components: `hybrids`, `train_component`, `ComponentSettings`, `Component`, `Mix`
- Merging rules: `MergeRule`, `MergeContext`, `EqualWeights`, `Weighted`, `TaskArithmetic`, `Ties`, `Dare`,
  `MagnitudePruning`, `EntropyWeights`, `GridSearch`, `make_rule`, `rule_names`
- Methods of the harness: `MergedModel`, `RetrieverHead`, `RankerHead`
- Backbones: `Backbone`, `find_backbone`, `load`

Importing this module imports torch; `import weaverec` alone does not.
"""

from weaverec.components import train_component
from weaverec.lm.backbone import Backbone, find_backbone, load
from weaverec.merging.adamerging import EntropyWeights
from weaverec.merging.api import Component, MergeContext, MergeRule, Mix
from weaverec.merging.method import MergedModel
from weaverec.merging.registry import make_rule, rule_names
from weaverec.merging.rules import Dare, EqualWeights, MagnitudePruning, TaskArithmetic, Ties, Weighted
from weaverec.merging.search import GridSearch
from weaverec.merging.task_vectors import TaskVector, by_layer, fold, folded, save_model, task_vector, weighted_sum
from weaverec.ranker.method import RankerHead
from weaverec.retriever.method import RetrieverHead
from weaverec.retriever.train import ComponentSettings
from weaverec.weaverec import hybrids

__all__ = [
    "Backbone",
    "Component",
    "ComponentSettings",
    "Dare",
    "EntropyWeights",
    "EqualWeights",
    "GridSearch",
    "MagnitudePruning",
    "MergeContext",
    "MergeRule",
    "MergedModel",
    "Mix",
    "RankerHead",
    "RetrieverHead",
    "TaskArithmetic",
    "TaskVector",
    "Ties",
    "Weighted",
    "by_layer",
    "find_backbone",
    "fold",
    "folded",
    "hybrids",
    "load",
    "make_rule",
    "rule_names",
    "save_model",
    "task_vector",
    "train_component",
    "weighted_sum",
]
