"""Methods from files: what they are called, what goes wrong, and that their code is part of a result's identity."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError, UnavailableError
from harness.methods.error_origin import plugin_behind
from harness.methods.method_file import MethodFile, is_file_reference
from harness.methods.registry import factory_of, make_method, packages_of
from harness.protocol.suite import Suite
from harness.run.methods import code_of, select_methods, suite_method

SOURCE = """
from dataclasses import dataclass
from harness.methods.api import NoSettings

# How fast.
RATE = 0.5


class Mine:
    settings = NoSettings()

    def fit(self, data, context):
        return RATE * data
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write_file(source: str = SOURCE, path: str = "my_method.py") -> Path:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(source)
        return tmp_path / path

    return write_file


def test_a_method_is_named_by_its_file_and_its_class(write) -> None:
    path = write()
    file = MethodFile.parse("./my_method.py:Mine", Path.cwd())
    assert (file.name, file.reference, file.module) == ("my_method.Mine", f"{path}:Mine", "my_method")
    assert MethodFile.parse(str(path) + ":Mine", Path("elsewhere")) == file
    assert type(make_method("my_method.py:Mine")).__name__ == "Mine"
    assert packages_of("my_method.py:Mine") == ("my_method",)


@pytest.mark.parametrize(
    ("text", "is_file"),
    [
        ("./a.py:B", True),
        ("a.py", True),
        ("/x/a.py:b", True),
        ("markov", False),
        ("recbole.NARM", False),
        ("a.pyx:B", False),
    ],
)
def test_what_names_a_file(text: str, is_file: bool) -> None:
    assert is_file_reference(text) == is_file


def test_a_file_of_a_package_may_import_its_neighbours(write) -> None:
    write("", "shop/__init__.py")
    write("RATE = 3\n", "shop/rates.py")
    write(SOURCE.replace("RATE = 0.5", "from .rates import RATE"), "shop/models.py")
    file = MethodFile.parse("shop/models.py:Mine", Path.cwd())
    assert (file.name, file.module) == ("models.Mine", "shop.models")
    assert file.load()().fit(2, None) == 6
    write("RATE = 4\n", "helpers.py")
    write(SOURCE.replace("RATE = 0.5", "from helpers import RATE"), "lone.py")
    assert factory_of("lone.py:Mine")().fit(2, None) == 8


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        (SOURCE, "my_method.py", "needs the name of its class or function. Write it as in my_method.py:Markov."),
        (SOURCE, "my_methods.py:Mine", "there is no file"),
        (
            SOURCE,
            "my_method.py:Mime",
            "my_method.py: Unknown class or function 'Mime'. Did you mean 'Mine'? Known: Mine.",
        ),
        (SOURCE, "my_method.py:RATE", "Unknown class or function 'RATE'"),
        ("RATE = 1", "my_method.py:Mine", "It defines none."),
        (
            "\nx = 1 / 0",
            "my_method.py:Mine",
            "my_method.py, line 2 cannot be imported: ZeroDivisionError: division by zero.",
        ),
        ("def (", "my_method.py:Mine", "cannot be imported: SyntaxError"),
        ("import sys\nsys.exit(3)", "my_method.py:Mine", "my_method.py, line 2 cannot be imported: SystemExit: 3."),
        (
            SOURCE.replace("fit", "train"),
            "my_method.py:Mine",
            "Mine in my_method.py is no method: it has no method 'fit'.",
        ),
        (SOURCE.replace("settings =", "setting ="), "my_method.py:Mine", "it has no member 'settings'"),
        (
            SOURCE.replace("= NoSettings()", "= {}"),
            "my_method.py:Mine",
            "its settings are dict, not an object of a frozen",
        ),
        (SOURCE.replace("= NoSettings()", "= NoSettings"), "my_method.py:Mine", "its settings are type, not an object"),
        (SOURCE + "\n\ndef make():\n    return Mine\n", "my_method.py:make", "it is a class, not an object of it"),
        (
            SOURCE + "\n\ndef make(x):\n    return x\n",
            "my_method.py:make",
            "make in my_method.py cannot be made: TypeError",
        ),
    ],
)
def test_a_file_that_gives_no_method_is_refused_in_one_line(write, source: str, reference: str, message: str) -> None:
    write(source)
    with pytest.raises(HarnessError) as caught:
        make_method(reference)
    assert message in str(caught.value)
    assert not isinstance(caught.value, UnavailableError)


def test_files_of_one_name_in_two_folders(write) -> None:
    write(SOURCE, "one/twin.py")
    write(SOURCE.replace("0.5", "2.5"), "two/twin.py")
    for _ in range(2):
        assert [make_method(f"{folder}/twin.py:Mine").fit(2, None) for folder in ("one", "two")] == [1.0, 5.0]


def test_what_a_file_imports_may_be_missing(write) -> None:
    write("import a_package_that_is_missing\n")
    with pytest.raises(UnavailableError, match=r"my_method\.py cannot be imported: No module named"):
        make_method("my_method.py:Mine")


@pytest.mark.parametrize("path", ["numpy.py", "queue.py"])
def test_a_file_named_like_another_module_is_refused(write, path: str) -> None:
    write(path=path)
    with pytest.raises(HarnessError, match=r"is the name of another module: .*Rename the file"):
        make_method(f"{path}:Mine")


def test_a_file_that_cannot_be_a_module_is_refused(write) -> None:
    write(path="my-method.py")
    with pytest.raises(HarnessError, match=r"my-method\.py is no name of a Python module\. Rename the file"):
        make_method("my-method.py:Mine")


def test_the_code_of_a_file_is_part_of_the_identity_and_its_comments_are_not(write, toy) -> None:
    def identity(source: str) -> tuple[str, str]:
        write(source)
        suite, (name,) = select_methods(toy.suite, ["my_method.py:Mine"])
        method = suite_method(suite, name)
        return code_of(suite, name, method), str(method.fit(2, None))

    first = identity(SOURCE)
    assert first[1] == "1.0"
    assert identity(SOURCE.replace("# How fast.", "# How fast it is.")) == first
    assert identity(SOURCE.replace("\n\nclass", "\nUNUSED = 3\n\nclass")) == first
    changed = identity(SOURCE.replace("RATE = 0.5", "RATE = 1.5"))
    assert changed[0] != first[0]
    assert changed[1] == "3.0"  # the changed file was read again
    assert identity(SOURCE) == first


def test_a_file_that_changes_during_a_run_is_refused(write, toy) -> None:
    write()
    suite, (name,) = select_methods(toy.suite, ["my_method.py:Mine"])
    suite_method(suite, name)
    write(SOURCE.replace("RATE = 0.5", "RATE = 1.5"))
    with pytest.raises(HarnessError, match=r"my_method\.py:Mine has changed since the suite was loaded"):
        suite_method(suite, name)
    again, _ = select_methods(suite, ["my_method.py:Mine"])
    assert suite_method(again, name).fit(2, None) == 3.0


def test_an_exception_in_a_file_is_not_the_harness_s(write) -> None:
    write(SOURCE)
    method = make_method("my_method.py:Mine")
    with pytest.raises(TypeError) as caught:
        method.fit({}, None)
    assert plugin_behind(caught.value) == "The method's file my_method.py, line 13"


def test_selecting_a_file_adds_it_to_the_suite(write, toy) -> None:
    path = write()
    suite, names = select_methods(toy.suite, ["popularity", "my_method.py:Mine", "./my_method.py:Mine"])
    assert names == ("popularity", "my_method.Mine")
    assert suite.base_method("my_method.Mine") == f"{path}:Mine"
    assert select_methods(suite, ["my_method.Mine"])[1] == ("my_method.Mine",)
    assert select_methods(toy.suite, None) == (toy.suite, ("popularity",))
    other = write(path="other/my_method.py")
    with pytest.raises(HarnessError, match=r"my_method\.Mine is a method of toy/v1 already, from .*Rename the file"):
        select_methods(suite, [f"{other}:Mine"])
    with pytest.raises(HarnessError, match=r"Unknown method 'my_method\.Min'. Did you mean 'my_method\.Mine'"):
        select_methods(suite, ["my_method.Min"])
    assert isinstance(suite, Suite)
