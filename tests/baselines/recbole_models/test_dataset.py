import numpy as np
import torch

from baselines.recbole_models.dataset import WORDS, make_config, make_dataset
from tests.conftest import domain_of


def test_recboles_dataset_has_no_missing_values() -> None:
    """RecBole fills missing values in place, which has no effect in pandas 3."""
    texts = ("red shoe", "", "blue shoe", "alone", "red hat")
    sequences = domain_of([[0, 1, 2], [3, 4], [2, 0, 4, 1]], len(texts)).interactions
    for prefixes in (False, True):
        dataset = make_dataset(make_config("FDSA", {}, 5), sequences, texts, prefixes)
        for features in (dataset.inter_feat, dataset.item_feat):
            for name, values in features.interaction.items():
                assert torch.isfinite(values.double()).all(), name
        words = dataset.item_feat[WORDS].numpy()
        vocabulary = ["[PAD]", "red", "shoe"]
        expected = [[], [1, 2], [], [2], [], [1]]  # the padding item first; words of a single text are left out
        assert [row[row > 0].tolist() for row in words] == expected
        assert len(vocabulary) == dataset.num(WORDS)
        assert np.array_equal(dataset.item_feat[dataset.iid_field].numpy(), np.arange(len(texts) + 1))
