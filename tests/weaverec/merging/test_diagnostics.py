"""Diagnostics of vectors and components whose values are known."""

import numpy as np
import pytest
import torch

from baselines.language_models import naive_merge, target_only, zero_shot
from harness.evaluation.rank_scorer import validation_ndcg
from harness.methods.api import FitContext
from harness.run.artefact import RunArtefacts
from harness.storage.store import Store
from tests.weaverec.retriever.test_train import BUDGET, data
from weaverec.merging.diagnostics import cosine, proxy_a_distance, sign_conflict
from weaverec.weaverec import weaverec


def test_cosine_and_sign_conflict_by_hand() -> None:
    a = {"x": torch.tensor([[3.0, 0.0]]), "y": torch.tensor([[4.0]])}
    b = {"x": torch.tensor([[3.0, 5.0]]), "y": torch.tensor([[-4.0]])}
    assert cosine(a, a) == pytest.approx(1)
    assert cosine(a, {name: -3 * layer for name, layer in a.items()}) == pytest.approx(-1)
    assert cosine(a, b) == pytest.approx((9 - 16) / (5 * 50**0.5))
    # Of three entries, one is 0 in a, and one of the other two has opposite signs.
    assert sign_conflict(a, b) == 0.5
    assert sign_conflict(a, a) == 0


def test_the_distance_is_0_for_equal_distributions_and_2_for_separable_ones() -> None:
    rng = np.random.default_rng(0)
    one, same = rng.normal(size=(2, 1000, 8)).astype(np.float32)
    assert proxy_a_distance(one, same) < 0.2
    assert proxy_a_distance(one, same + 20) == pytest.approx(2, abs=0.01)
    near, far = proxy_a_distance(one, same + 0.2), proxy_a_distance(one, same + 1)
    assert 0 < near < far < 2


def test_a_diagnosis_scores_the_target_as_a_run_does(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In bfloat16, weights that differ in their last float32 bit may be a rank apart.
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)
    method = weaverec().tuned({"steps": 2, "batch": 40})
    context = FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None))
    alone, along, same_way, distances = method.diagnose(data(), context, lambda *_: None)
    assert [row[0] for row in alone.rows] == [
        "none: the base model",
        "a",
        "a + b",
        "a + c",
        "all of them, in equal parts",
    ]
    score = dict(alone.rows)
    line = {(name, w): value for name, w, value in along.rows}
    assert line["a to a + b", 0.0] == score["a"] == line["equal", 0.0]
    assert line["a to a + b", 1.0] == score["a + b"]
    # That of all is what weaverec serves.
    served = weaverec().tuned({"steps": 2, "batch": 40}).fit(data(), context)
    assert score["all of them, in equal parts"] == pytest.approx(
        validation_ndcg(served, data().target_domain), abs=1e-9
    )
    # With two components, halfway is the method with equal weights.
    merged = weaverec().tuned({"steps": 2, "batch": 40}).fit(data("a", ("b",)), context)
    assert line["a to a + b", 0.5] == pytest.approx(validation_ndcg(merged, data().target_domain), abs=1e-9)
    assert len(same_way.rows) == 3
    assert all(0 <= conflict <= 1 and -1 <= cos <= 1 for _, cos, conflict in same_way.rows)
    assert all(0 <= distance <= 2 for _, distance, _ in distances.rows)
    assert all(0 < most < 2 for name, _, most in distances.rows if name != "a")
    assert {name: most for name, _, most in distances.rows}["a"] == 0


@pytest.mark.parametrize(("method", "rows"), [(zero_shot, 1), (target_only, 2)])
def test_a_method_without_a_merge_has_no_merge_to_score(tmp_path, method, rows: int) -> None:
    context = FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None))
    tried = []
    model = method()
    if model.artefacts(data(), BUDGET, 0):
        model = model.tuned({"steps": 1, "batch": 40})
    alone, *_ = model.diagnose(data(), context, lambda *progress: tried.append(progress))
    assert len(alone.rows) == rows
    assert tried[-1] == (rows, rows)


def test_a_mix_with_the_target_is_nearer_to_it_than_a_source_alone(tmp_path) -> None:
    context = FitContext(BUDGET, 0, "cpu", RunArtefacts(Store(tmp_path), "cpu", lambda *_: None))
    short = {"steps": 1, "batch": 40}
    _, hybrid = weaverec().tuned(short).diagnose(data("a", ("b",)), context, lambda *_: None)[3].rows
    _, alone = naive_merge().tuned(short).diagnose(data("a", ("b",)), context, lambda *_: None)[3].rows
    assert (hybrid[0], alone[0], alone[2]) == ("a + b", "b", 2)
    assert hybrid[1] < alone[1]
