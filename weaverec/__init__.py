"""WeaveRec, and the language-model machinery it shares with its baselines.

The public names are those of `weaverec.api`, such as `from weaverec import fold, task_vector, weighted_sum`. They are
imported on first use, so that `import weaverec` does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weaverec.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A public name, or `__all__`."""
    if name == "__all__" or not name.startswith("_"):
        import weaverec.api as api

        if name == "__all__" or name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module 'weaverec' has no attribute {name!r}")
