"""What is refused before anything is trained."""

import pytest

from harness.errors import HarnessError
from harness.method import NoSettings
from harness.protocol.candidates import CandidateSet
from harness.run.opening import prepare_domains
from harness.run.plan import make_plan
from harness.run.store import Store


def plan(toy, methods):
    domains = prepare_domains(toy.suite.domains, toy.cache / "domains", toy.cache)
    return make_plan(toy.suite, toy.suite.scenarios[:1], methods, (0,), domains, Store(toy.cache / "store"))


@pytest.mark.parametrize("size", [31, 40, 41, 1000])
def test_too_small_a_catalogue_for_sampled_candidates(toy, size: int) -> None:
    toy.suite = toy.replace(toy.suite, candidates=(CandidateSet("full"), CandidateSet("sampled", size)))
    with pytest.raises(HarnessError, match=rf"sampled-{size}: \d+ of 30 users have fewer than {size - 1} items"):
        plan(toy, ("popularity",))


def test_candidates_that_are_not_those_the_suite_pins(toy) -> None:
    pinned = toy.replace(toy.suite.scenarios[0], pins=(("sampled-10", "0" * 64),))
    toy.suite = toy.replace(toy.suite, scenarios=(pinned,))
    with pytest.raises(HarnessError, match="sampled-10 came out as"):
        plan(toy, ("popularity",))


def test_candidates_are_drawn_once(toy) -> None:
    plan(toy, ("popularity",))
    assert len(list((toy.cache / "store" / "candidates").iterdir())) == 1


def test_a_method_that_cannot_learn_from_the_data(toy) -> None:
    class Fussy:
        settings = NoSettings()

        def check_data(self, data):
            raise HarnessError(f"{data.target} is not to my taste.", "Choose another.")

        def fit(self, data, context):
            raise AssertionError("it was to be refused before")

    toy.add("fussy", Fussy)
    with pytest.raises(HarnessError, match="left is not to my taste"):
        plan(toy, ("popularity", "fussy"))
    assert [run.method for run in plan(toy, ("popularity",)).missing] == ["popularity"]
