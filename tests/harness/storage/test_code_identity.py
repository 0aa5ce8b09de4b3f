"""Code digests change with code that affects results, and with nothing else."""

import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.storage import code_identity, code_modules, code_parse
from harness.storage.code_identity import bound_values, code_digest, source_digest
from tests.code_reached import code_reached

ROOT = Path(__file__).parents[3]

PLUGIN = {
    "plug/__init__.py": '"""Methods of a plug-in."""\n',
    "plug/train.py": '''"""Training."""
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.protocol.metrics import ndcg
from plug.losses import loss
from plug.shared import smooth
from . import order
import plug.setup

if TYPE_CHECKING:
    from plug.report import Table

RATE = 0.1

@dataclass(frozen=True)
class Settings:
    """Settings."""
    momentum: float = 0.9

class Base:
    def step(self):
        return 1

class Model(Base):
    """A model."""
    width = 8

    def forward(self, x):
        return self.width * x

def make(folder, making):
    """Trains."""
    from .late import finish
    # The order of batches.
    model, batches = Model(), order.batches(10)
    if not batches:
        raise ValueError(f"no batches in {folder}")
    values = [smooth(loss(b)) * RATE * model.step() for b in batches]
    name = f"{values[0]:.3f}"
    return finish(values, Settings(), name)

def other():
    return 2
''',
    "plug/losses.py": "def loss(x, scale=2.0):\n    return _square(x) * scale\n\ndef _square(x):\n    return x * x\n",
    "plug/order.py": "import random as rnd\n\ndef batches(n):\n    return sorted(range(n), reverse=True)\n",
    "plug/late.py": "def finish(values, settings, name):\n    return sum(values)\n",
    "plug/shared/__init__.py": "from .smoothing import smooth\nfrom .reading import read\n",
    "plug/shared/smoothing.py": "def smooth(x: float) -> float:\n    half: float = x / 2\n    return half\n",
    "plug/shared/reading.py": "FORMATS = ('csv',)\n\ndef read(path):\n    return open(path)\n",
    "plug/setup.py": "import plug.patches\n",
    "plug/patches.py": "import json\njson.indent = 1\n",
    "plug/report.py": "class Table:\n    pass\n",
    "plug/rules.py": "def mean(v):\n    return sum(v) / len(v)\n\ndef largest(v):\n    return max(v)\n",
}


def write_files(folder: Path, files: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    for cached in (
        code_modules.find_module,
        code_parse.parse_module,
        code_modules.is_first_party,
        code_identity._digest,
        source_digest,
    ):
        cached.cache_clear()


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The digest of `plug.train:make` after changes to files: (file, old text, new text), or (file, more text)."""

    def digest_after(*changes: tuple[str, ...], root: str = "plug.train:make") -> str:
        files = dict(PLUGIN)
        for file, *texts in changes:
            if len(texts) == 1:
                files[file] = files.get(file, "") + texts[0]
            else:
                assert texts[0] in files[file]
                files[file] = files[file].replace(*texts)
        write_files(tmp_path / "plugins", files, monkeypatch)
        return code_digest(root)

    return digest_after


@pytest.mark.parametrize(
    "change",
    [
        ("plug/train.py", '"""Trains."""', '"""Trains, and how."""'),
        ("plug/train.py", '"""Training."""\n', ""),
        ("plug/train.py", '    """A model."""\n', ""),
        ("plug/train.py", "# The order of batches.", "# Batches, from the last."),
        (
            "plug/train.py",
            "model, batches = Model(), order.batches(10)",
            "(model, batches) = (Model(),\n order.batches( 10 ))",
        ),
        ("plug/train.py", "def make(folder, making):", "def make(folder: str, making: object) -> float:"),
        ("plug/train.py", "no batches in {folder}", "{folder}: there are no batches"),
        ("plug/train.py", "return 2", "return 3"),
        (
            "plug/train.py",
            "from plug.losses import loss\nfrom plug.shared",
            "import math\nfrom plug.losses import loss\nfrom plug.shared",
        ),
        ("plug/shared/smoothing.py", "half: float = x / 2", "half = x / 2"),
        ("plug/losses.py", "\ndef hinge(x):\n    return max(0, x)\n"),
        ("plug/losses.py", "\nHINGE = 3\n"),
        ("plug/losses.py", "def loss(x, scale=2.0):\n    return _square(x) * scale\n\n", ""),
        ("plug/shared/reading.py", "'csv',", "'csv', 'json'"),
        ("plug/shared/excel.py", "def read(path):\n    return path\n"),
        ("plug/report.py", "\nclass Chart:\n    pass\n"),
        ("plug/report.py", "pass", "width = 3"),
        ("plug/rules.py", "\ndef median(vectors):\n    return sorted(vectors)[len(vectors) // 2]\n"),
        ("plug/train.py", '\nif __name__ == "__main__":\n    make(".", None)\n'),
    ],
    ids=lambda change: f"{change[0]}: {change[1][:30]!r}",
)
def test_irrelevant_changes_keep_the_digest(key, change: tuple[str, ...]) -> None:
    after = [change]
    if change[1].startswith("def loss"):  # moved below what it calls
        after = [change, ("plug/losses.py", "\ndef loss(x, scale=2.0):\n    return _square(x) * scale\n")]
    assert key(*after) == key()


@pytest.mark.parametrize(
    "change",
    [
        ("plug/train.py", "RATE = 0.1", "RATE = 0.2"),
        ("plug/train.py", "momentum: float = 0.9", "momentum: float = 0.8"),
        ("plug/train.py", "momentum: float = 0.9", "momentum: int = 0.9"),
        ("plug/train.py", "        return 1", "        return 1.5"),
        ("plug/train.py", "width = 8", "width = 16"),
        ("plug/train.py", ":.3f", ":.4f"),
        ("plug/train.py", "raise ValueError", "raise KeyError"),
        ("plug/train.py", "def make", "@functools.cache\ndef make"),
        ("plug/train.py", "\nRATE = RATE * 2\n"),
        ("plug/losses.py", "return _square(x) * scale", "return _square(x) + scale"),
        ("plug/losses.py", "scale=2.0", "scale=3.0"),
        ("plug/losses.py", "return x * x", "return x * x * x"),
        ("plug/order.py", "reverse=True", "reverse=False"),
        ("plug/late.py", "sum(values)", "max(values)"),
        ("plug/shared/smoothing.py", "x / 2", "x / 3"),
        ("plug/shared/__init__.py", "from .smoothing import smooth", "from .reading import read as smooth"),
        ("plug/patches.py", "json.indent = 1", "json.indent = 2"),
        ("plug/__init__.py", "import random\nrandom.seed(1)\n"),
    ],
    ids=lambda change: f"{change[0]}: {change[1][:30]!r}",
)
def test_relevant_changes_change_the_digest(key, change: tuple[str, ...]) -> None:
    assert key(change) != key()


def test_code_of_the_harness_used_by_a_plug_in_is_followed(key) -> None:
    key()
    reached = code_reached("plug.train:make")
    assert "harness.protocol.metrics:ndcg" not in reached  # imported, and not used
    key(
        ("plug/losses.py", "return x * x", "return ndcg(x, 10)"),
        ("plug/losses.py", "from harness.protocol.metrics import ndcg\n"),
    )
    reached = code_reached("plug.train:make")
    assert {"harness.protocol.metrics:ndcg", "harness.protocol.metrics:expected_gain"} <= set(reached)
    assert "harness.protocol.metrics:mrr" not in reached


def test_names_in_strings_must_be_declared(key) -> None:
    plain = code_digest("plug.train:make", "plug.rules:mean") if key() else ""
    key(("plug/rules.py", "max(v)", "min(v)"))
    assert code_digest("plug.train:make", "plug.rules:mean") == plain
    whole = code_digest("plug.train:make", "plug.rules")
    key(("plug/rules.py", "/ len(v)", "/ 2"))
    assert code_digest("plug.train:make", "plug.rules:mean") != plain
    assert code_digest("plug.train:make", "plug.rules") != whole
    with pytest.raises(HarnessError, match=r"Module 'plug\.nowhere' cannot be found"):
        code_digest("plug.nowhere:x")


def test_a_module_used_as_a_value_is_hashed_whole(key) -> None:
    by_name = ("plug/train.py", "order.batches(10)", "getattr(order, 'batches')(10)")
    new = ("plug/order.py", "\ndef others(n):\n    return n\n")
    assert key(new) == key()
    assert key(by_name, new) != key(by_name)


@dataclass(frozen=True)
class Rule:
    """A rule with parameters, as a plug-in may define it."""

    apply: Callable[[float], float]
    scale: float = 1.0


def scaled(by: float) -> Rule:
    return Rule(lambda x: x * by)


def added(x: float, more: float) -> float:
    return x + more


def test_bound_values_include_all_parameters() -> None:
    rules = [scaled(2.0), scaled(3.0), Rule(partial(added, more=2.0)), Rule(partial(added, more=3.0)), Rule(abs, 2.0)]
    values = [repr(bound_values(rule)) for rule in rules]
    assert len(set(values)) == len(rules)
    assert bound_values(scaled(2.0)) == bound_values(scaled(2.0))
    # Code behind partials and closures is included.
    assert "tests.harness.storage.test_code_identity:added" in code_reached(Rule(partial(added, more=2.0)))
    assert "tests.harness.storage.test_code_identity:scaled" in code_reached(scaled(2.0))
    assert "tests.harness.storage.test_code_identity:added" not in code_reached(scaled(2.0))


def pythons() -> dict[str, str]:
    """Installed Python interpreters of supported versions, by version."""
    paths = [*Path.home().glob(".pyenv/versions/3.1[1-4]*/bin/python")]
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 15)]
    interpreters: dict[str, str] = {}
    for path in [*map(str, paths), *filter(None, named)]:
        out = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
        if out.returncode == 0 and out.stdout.split()[1] in ("11", "12", "13", "14"):
            interpreters.setdefault(out.stdout.strip(), path)
    return interpreters


SYNTAX = r'''
def f[0](a, /, b: int = 1, *c, d=None, **e) -> "str":
    """Docs."""
    x = f"{a!r:>{b}} {'q' + "w"} {{}} {a=} {b:}" f"{c}" " tail \N{BULLET} \x41"
    y = rf"\d{a}" + b"\xff".decode() + 1_000 * 1e400 * 0x10j
    match a:
        case {"k": [1, *_], **rest} if rest is not None: return -1
    try:
        pass
    except* ValueError as g:
        raise RuntimeError(f"{x}") from g
    return lambda *, k=...: (yield)
'''.replace("[0]", "")


def test_digests_are_the_same_under_all_versions_of_python(tmp_path: Path) -> None:
    others = pythons()
    if len(others) < 2:
        pytest.skip(f"needs two versions of Python, not {sorted(others)}")
    syntax = SYNTAX.replace("""'q' + "w\"""", "a + 1")  # nested quotes of the same kind are new in 3.12
    (tmp_path / "syntax_examples.py").write_text(syntax)
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; from harness.storage.code_identity import *; "
        "print(source_digest('harness', 'baselines', 'weaverec', 'syntax_examples'), "
        "code_digest('weaverec.retriever.train:component'))"
    )
    digests = {v: subprocess.check_output([path, "-c", code], text=True).strip() for v, path in others.items()}
    assert len(set(digests.values())) == 1, digests


def test_source_digest_covers_a_whole_package(key, tmp_path: Path) -> None:
    key()
    before = source_digest("plug")
    key(("plug/rules.py", "max(v)", "min(v)"))
    assert source_digest("plug") != before
    key(("plug/rules.py", "# a comment\n"))
    assert source_digest("plug") == before
    assert "plug" not in sys.modules
