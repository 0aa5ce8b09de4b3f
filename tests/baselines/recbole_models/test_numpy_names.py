import subprocess
import sys
import warnings

import numpy as np
import pytest

from baselines.recbole_models.numpy_names import _READ, _SET, numpy_1_names


def names() -> dict[str, object]:
    return {name: vars(np)[name] for name in (*_READ, *_SET) if name in vars(np)}


def test_old_names_exist_inside_the_context_only() -> None:
    before = names()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with numpy_1_names(), numpy_1_names():
            assert [getattr(np, name) for name in _READ] == [np.float64, np.complex128, np.str_]
            for name in _SET:  # as RecBole does
                setattr(np, name, np.int_)
    assert names() == before
    with pytest.raises(ZeroDivisionError), numpy_1_names():
        raise ZeroDivisionError
    assert names() == before


def test_importing_and_building_prints_nothing() -> None:
    code = """
from baselines.recbole_models.building import RecBoleSettings, build, sequential_models
from baselines.recbole_models.training_paths import probe_corpus
assert "SASRec" in sequential_models()
for model in ("SASRec", "FDSA"):
    build(RecBoleSettings(model), probe_corpus(), prefixes=True)
"""
    process = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, timeout=300)
    messages = [line for line in process.stderr.splitlines() if "recbole" in line.lower() or "numpy" in line.lower()]
    assert (process.returncode, process.stdout, messages) == (0, "", [])
