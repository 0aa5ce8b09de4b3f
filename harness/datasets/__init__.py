"""Data sets by name."""

from harness.datasets.load import Dataset, dataset_names, load_dataset

__all__ = ["Dataset", "dataset_names", "load_dataset"]
