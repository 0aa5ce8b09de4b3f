"""Methods are found by entry point, each name in one distribution."""

import importlib
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.methods.api import NoSettings, learns_from, reference_of
from harness.methods.registry import factory_of, family_names, make_method, method_names


def install(
    folder: Path, distribution: str, group: str, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution with entry points and one module."""
    home = folder / distribution / f"{distribution.replace('-', '_')}-1.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    entries = "".join(f"{name} = {value}\n" for name, value in names.items())
    (home / "entry_points.txt").write_text(f"[{group}]\n{entries}")
    monkeypatch.syspath_prepend(str(folder / distribution))
    importlib.invalidate_caches()


METHODS, FAMILIES = "cdsr_harness.methods", "cdsr_harness.method_families"


@pytest.mark.parametrize(
    ("group", "name", "asked"), [(METHODS, "markov", "markov"), (FAMILIES, "recbole", "recbole.NARM")]
)
def test_a_name_of_two_distributions_is_refused_and_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, name: str, asked: str
) -> None:
    install(tmp_path, "my-plugin", group, {name: "my_plugin:Markov"}, monkeypatch)
    assert make_method("popularity").settings == NoSettings()  # other names are not affected
    wrong = rf"{name}' in {group} is offered by .*: cdsr-harness and my-plugin\. .*pip uninstall my-plugin"
    with pytest.raises(HarnessError, match=wrong):
        make_method(asked)
    with pytest.raises(HarnessError, match=wrong):
        method_names() if group == METHODS else family_names()


def test_a_method_of_another_distribution_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "my-plugin", METHODS, {"my-markov": "harness.methods.api:NoSettings"}, monkeypatch)
    assert "my-markov" in method_names()
    assert factory_of("my-markov") is NoSettings


def test_methods_say_which_domains_they_use_and_their_reference() -> None:
    class Silent:
        settings = NoSettings()

    class Says(Silent):
        reference = "markov"

        def learns_from(self, target, sources):
            return (target,)

    assert learns_from(Silent(), "a", ("b", "c")) == ("a", "b", "c")
    assert reference_of(Silent()) is None
    assert learns_from(Says(), "a", ("b", "c")) == ("a",)
    assert reference_of(Says()) == "markov"
    references = {name: reference_of(make_method(name)) for name in ("weaverec", "joint-gru4rec", "sasrec", "markov")}
    assert references == {"weaverec": "target-only", "joint-gru4rec": "gru4rec", "sasrec": None, "markov": None}
    assert reference_of(make_method("ranker.weaverec")) == "ranker.target-only"
