"""WeaveRec: the target's component and one hybrid for each source, merged by weighted averaging.

Hou et al., "WeaveRec: An LLM-Based Cross-Domain Sequential Recommendation Framework with Model Merging",
arXiv 2510.26546, 2025.
"""

from harness.method import Method
from weaverec.averaging import ComponentAverage


def weaverec() -> Method:
    """Components on T and on T + S of each source S, with equal weights 1 / (m + 1)."""
    return ComponentAverage(mixes=lambda target, sources: [(target,), *((target, source) for source in sources)])
