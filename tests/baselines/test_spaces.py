"""Search spaces of the built-in methods."""

import pytest

from harness.methods.registry import make_method, method_names
from harness.tuning.tunable import Tunable, check_space, configured


@pytest.mark.parametrize("name", [*method_names(), "recbole.NARM"])
def test_default_settings_are_the_first_trial(name: str) -> None:
    method = make_method(name)
    if isinstance(method, Tunable):
        assert configured(method, method.space.first(), name).settings == method.settings
        check_space(method, method.space, name)


def test_methods_of_one_family_share_a_space() -> None:
    components = [make_method(name) for name in ("target-only", "joint", "naive-merge", "weaverec")]
    assert len({repr(method.space) for method in components}) == 1
