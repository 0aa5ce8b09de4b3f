"""Search spaces of all methods that come with the harness."""

import pytest

from harness.methods.registry import make_method, method_names
from harness.tuning.tunable import Tunable, check_space, configured


@pytest.mark.parametrize("name", [*method_names(), "recbole.NARM"])
def test_an_untuned_method_is_the_first_trial_of_its_tuning(name: str) -> None:
    method = make_method(name)
    if isinstance(method, Tunable):
        assert configured(method, method.space.first(), name).settings == method.settings
        check_space(method, method.space, name)


def test_methods_with_one_space_try_the_same_settings() -> None:
    components = [make_method(name) for name in ("target-only", "joint", "naive-merge", "weaverec")]
    assert len({repr(method.space) for method in components}) == 1
