"""YAML files are bounded, and errors name file and line."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.storage.yaml_file import read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def write_yaml(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2", "line 2: not valid YAML: expected ',' or ']'"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("x:\n  y: {k: 1, 'k': 2}\n", "line 2: 'k' is given twice"),
        ('a: 1\nb: !!int ""\n', "line 2: '' is not a valid int"),
        ("a: !!int seven\n", "line 1: 'seven' is not a valid int"),
        ("a: !!float seven\n", "line 1: 'seven' is not a valid float"),
        ("a: !!bool seven\n", "line 1: 'seven' is not a valid bool"),
        ("a: !!timestamp seven\n", "line 1: 'seven' is read as a date"),
        ("a:\n- 2020-01-01\n", "line 2: '2020-01-01' is read as a date: put it in quotes"),
        ("a: 2001-12-14t21:59:43.10-05:00\n", "is read as a date: put it in quotes"),
        ("a: !!set {x, y}\n", "line 1: this is a set: write a list"),
        ("a: !!binary aGk=\n", "line 1: 'aGk=' is of the kind tag:yaml.org,2002:binary"),
        ("a: !!omap [x: 1]\n", "is of the kind tag:yaml.org,2002:omap"),
        ("a: !!python/object/apply:os.system [echo]\n", "is of the kind tag:yaml.org,2002:python/object/apply:os.sys"),
        ("a: !mine x\n", "line 1: 'x' is of the kind !mine"),
        ("a: .nan\n", "line 1: .nan is not a finite number"),
        ("a: -.INF\n", "line 1: -.INF is not a finite number"),
        (f"a: {'7' * 5000}\n", "line 1: a number of 5,000 characters"),
        (f"a: {'1:' * 200}1\n", "a number of 401 characters"),
        ("a: &a [1, *a]\n", "line 1: an alias is inside the node it stands for"),
        ("a: *b\n", "not valid YAML: found undefined alias 'b'"),
        ("a: " + "[" * 500 + "]" * 500, "line 1: nested deeper than 40 levels"),
        ("? " * 500 + "x", "line 1: nested deeper than 40 levels"),
        (LAUGHS, "more than 100,000 entries, with aliases expanded"),
        ("a: " + "x" * 2**20, "larger than 1,048,576 bytes"),
        ("a: \x07\n", "not valid YAML"),
        ("{[a]: 1}", "not valid YAML: found unhashable key"),
        ("a: 1\n--- b\n", "not valid YAML"),
    ],
)
def test_refused_files_raise_a_one_line_error(tmp_path: Path, text: str, message: str) -> None:
    path = write_yaml(tmp_path, text)
    started = time.perf_counter()
    with pytest.raises(HarnessError) as error:
        read_yaml(path)
    assert time.perf_counter() - started < 30
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_files_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"a: \xff\xfe\x00")
    with pytest.raises(HarnessError, match="not valid YAML"):
        read_yaml(path)


def test_aliases_and_merges(tmp_path: Path) -> None:
    text = "base: &base {x: 1, y: [a, b]}\nother: {<<: *base, x: 2}\nsame: *base\nlist: [&n 1e3, *n]\n"
    assert read_yaml(write_yaml(tmp_path, text)) == yaml.safe_load(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_json_values_are_read_as_by_pyyaml(tmp_path_factory: pytest.TempPathFactory, value) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert read_yaml(write_yaml(folder, yaml.safe_dump(value))) == value


def test_built_in_files_are_read_as_by_pyyaml() -> None:
    paths = sorted(Path("harness").rglob("*.yaml")) + sorted(Path().glob("*/spaces/*.yaml"))
    assert len(paths) > 20
    for path in paths:
        assert read_yaml(path) == yaml.safe_load(path.read_bytes())
