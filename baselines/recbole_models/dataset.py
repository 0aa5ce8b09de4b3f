"""RecBole's own dataset and configuration, filled from memory instead of from files."""

import io
import logging
import os
import random
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import pandas as pd
import torch

from baselines.recbole_models.numpy_names import numpy_1_names
from harness.data.domain import Sequences

#: The item attribute that RecBole's feature-based models read by default; here, the words of the text.
WORDS = "class"
_MAX_WORDS = 12


@contextmanager
def contained() -> Iterator[None]:
    """Undo RecBole's changes to the whole process.

    Its `Config` reads the command line and hides the GPU; importing its models (sine.py) turns on autograd's
    anomaly detection, which slows down every training in the process; it logs, prints and warns; it reads names that
    numpy removed, and sets others.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    environment = dict(os.environ)
    anomaly = torch.is_anomaly_enabled()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), numpy_1_names():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.argv = arguments
        torch.autograd.set_detect_anomaly(anomaly)
        logging.disable(level)
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch, which RecBole uses; restore the first two afterwards."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - RecBole uses it
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def make_config(model: str, parameters: Mapping[str, Any], max_length: int) -> Any:
    """RecBole's `Config` of a model: its defaults, overridden by parameters.

    Raises:
        ValueError: RecBole has no such model.
    """
    with contained():
        from recbole.config import Config  # not recbole.quick_start, which imports an old ray

        return Config(
            model=model,
            dataset="cdsr-harness",
            config_dict={
                **parameters,
                "MAX_ITEM_LIST_LENGTH": max_length,
                "train_neg_sample_args": None,  # negatives are drawn in `training_paths`
                "use_gpu": False,  # the caller moves the model
                "data_path": "no data is read",
            },
        )


def make_dataset(config: Any, sequences: Sequences, texts: Sequence[str], prefixes: bool) -> Any:
    """RecBole's `SequentialDataset` of training sequences.

    Args:
        config: RecBole's.
        sequences: n_users sequences; item i becomes RecBole's i + 1, as 0 is padding, and user u becomes u + 1.
        texts: the items' texts; their words become the item attribute `class`.
        prefixes: whether to create RecBole's sample of every prefix, which takes time and memory.
    """
    with contained():
        from recbole.data.dataset import Dataset, SequentialDataset
        from recbole.utils import FeatureSource, FeatureType

        class InMemory(SequentialDataset):  # type: ignore[misc]
            """Loads the sequences and texts."""

            def _load_data(self, _: str, __: str) -> None:
                positions = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
                self.inter_feat = pd.DataFrame(
                    {
                        self.uid_field: sequences.users + 1,
                        self.iid_field: sequences.items + 1,
                        # Positions instead of timestamps: RecBole sorts by them, and would shuffle ties.
                        self.time_field: positions.astype(np.float64),
                    }
                )
                words, vocabulary = _words(texts)
                self.item_feat = pd.DataFrame({self.iid_field: np.arange(1, len(texts) + 1), WORDS: words})
                self.user_feat = None
                tokens = {self.uid_field: len(sequences), self.iid_field: len(texts), WORDS: len(vocabulary)}
                for field, kind, source, length in (
                    (self.uid_field, FeatureType.TOKEN, FeatureSource.USER_ID, 1),
                    (self.iid_field, FeatureType.TOKEN, FeatureSource.ITEM_ID, 1),
                    (self.time_field, FeatureType.FLOAT, FeatureSource.INTERACTION, 1),
                    (WORDS, FeatureType.TOKEN_SEQ, FeatureSource.ITEM, _MAX_WORDS),
                ):
                    self.set_field_property(field, kind, source, length)
                for field, count in tokens.items():
                    names = ["[PAD]", *map(str, range(1, count + 1))]
                    self.field2id_token[field] = np.array(names)
                    self.field2token_id[field] = {name: index for index, name in enumerate(names)}

            def _remap_ID_all(self) -> None:  # noqa: N802 - RecBole's name
                """Do nothing: ids are dense already."""

            def _change_feat_format(self) -> None:
                if prefixes:
                    super()._change_feat_format()
                else:
                    Dataset._change_feat_format(self)

        dataset = InMemory(config)
        dataset._change_feat_format()
    return dataset


def _words(texts: Sequence[str]) -> tuple[list[Any], list[str]]:
    """The first words of each text that occur in another text too, as indices from 1; and the vocabulary."""
    words_of_texts = [list(dict.fromkeys(re.findall(r"[a-z0-9]+", text.lower()))) for text in texts]
    counts = Counter(word for words in words_of_texts for word in words)
    vocabulary = sorted(word for word, count in counts.items() if count > 1)
    indices = {word: index for index, word in enumerate(vocabulary, 1)}
    rows = [
        np.array([indices[word] for word in words if word in indices][:_MAX_WORDS], dtype=np.int64)
        for words in words_of_texts
    ]
    return rows, vocabulary
