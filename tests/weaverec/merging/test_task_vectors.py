"""The algebra of merging, on a tiny random BERT and on real PEFT adapters."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import merge_utils
from torch import nn
from transformers import BertConfig, BertModel

from harness.errors import HarnessError
from weaverec.merging.api import Component, MergeRule
from weaverec.merging.rules import (
    Dare,
    EqualWeights,
    MagnitudePruning,
    RandomMerge,
    TargetScaled,
    TaskArithmetic,
    Ties,
    Weighted,
    chosen_dare,
    chosen_magnitude_pruning,
    chosen_target_scale,
    chosen_task_arithmetic,
    chosen_ties,
    chosen_weights,
)
from weaverec.merging.search import TRIES
from weaverec.merging.task_vectors import LowRank, TaskVector, by_layer, fold, folded, task_vector, weighted_sum

WEIGHTS = [0.5, 0.3, 0.2]


def base() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    return BertModel(config).eval()


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for seed in range(3):
        plain = base()
        torch.manual_seed(seed + 1)
        model = get_peft_model(plain, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
        for name, weight in model.named_parameters():
            if "lora_" in name:  # B starts at zero: a component must differ from the base to test anything
                nn.init.normal_(weight, std=0.2)
        folder = tmp_path_factory.mktemp(f"component{seed}")
        model.save_pretrained(folder, save_embedding_layers=False)
        folders.append(folder)
    return folders


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(24).reshape(2, 12)).last_hidden_state


def test_folded_outputs_are_those_of_base_plus_the_weighted_sum(components: list[Path]) -> None:
    folded = fold(base(), weighted_sum([task_vector(f) for f in components], WEIGHTS))
    # Independently: hooks that add sum_i w_i * scaling * B_i (A_i x) to each layer's output.
    plain = base()
    layers = dict(plain.named_modules())
    for folder, weight in zip(components, WEIGHTS, strict=True):
        adapter = PeftModel.from_pretrained(base(), folder)
        for name, module in adapter.base_model.model.named_modules():
            if not hasattr(module, "lora_A"):
                continue
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            layers[name].register_forward_hook(
                lambda _, inputs, out, a=a, b=b, w=weight: out + w * 2.0 * (inputs[0] @ a.T @ b.T)
            )
    torch.testing.assert_close(outputs(folded), outputs(plain), atol=1e-5, rtol=0)
    assert (outputs(folded) - outputs(base())).abs().max() > 0.01


def test_one_component_with_weight_one_is_that_component(components: list[Path]) -> None:
    for folder in components:
        folded = fold(base(), weighted_sum([task_vector(folder)], [1.0]))
        adapter = PeftModel.from_pretrained(base(), folder).eval()
        torch.testing.assert_close(outputs(folded), outputs(adapter), atol=1e-5, rtol=0)


def test_averaging_a_and_b_apart_is_not_the_merge(components: list[Path]) -> None:
    vectors = [task_vector(f) for f in components]
    right = weighted_sum(vectors, [1 / 3] * 3)
    adapters = [PeftModel.from_pretrained(base(), f).base_model.model for f in components]
    off = []
    for name, expected in right.items():
        pairs = [m.get_submodule(name.removesuffix(".weight")) for m in adapters]
        a = torch.stack([p.lora_A["default"].weight for p in pairs]).mean(0)
        b = torch.stack([p.lora_B["default"].weight for p in pairs]).mean(0)
        off.append(((2.0 * b @ a) - expected).norm() / expected.norm())
    assert min(off) > 0.1


def test_peft_s_linear_combination_is_not_the_merge_and_cat_is(components: list[Path]) -> None:
    right = outputs(fold(base(), weighted_sum([task_vector(f) for f in components], WEIGHTS)))
    model = PeftModel.from_pretrained(base(), components[0], adapter_name="c0")
    for i in (1, 2):
        model.load_adapter(components[i], adapter_name=f"c{i}")
    for combination in ("cat", "linear"):
        model.add_weighted_adapter(["c0", "c1", "c2"], WEIGHTS, combination, combination_type=combination)
        model.set_adapter(combination)
        distance = (outputs(model.eval()) - right).abs().max()
        assert distance < 1e-5 if combination == "cat" else distance > 1e-2


def test_weighted_sums_of_factors_are_those_of_dense_task_vectors() -> None:
    torch.manual_seed(0)
    vectors = [
        LowRank({"x": (torch.randn(6, r), torch.randn(r, 5)), "y": (torch.ones(3, r), torch.ones(r, 2))})
        for r in (4, 1, 2)
    ]
    weights = {"x": [0.5, -0.3, 0.2], "y": [0.0, 1.0, 2.0]}
    dense = [dict(vector) for vector in vectors]
    # One dense task vector makes the sum dense.
    for summed, low_rank in ((by_layer(vectors, weights), True), (by_layer([*vectors[:2], dense[2]], weights), False)):
        assert isinstance(summed, LowRank) == low_rank
        assert list(summed) == ["x", "y"]
        for name, layer in summed.items():
            expected = sum(w * v[name] for w, v in zip(weights[name], dense, strict=True))
            torch.testing.assert_close(layer, expected, atol=1e-6, rtol=1e-6)
    assert by_layer(vectors, weights).factors["x"][0].shape == (6, 7)  # type: ignore[attr-defined]


def test_a_component_s_factors_are_read_with_its_scaling(components: list[Path]) -> None:
    for folder in components:
        adapter = PeftModel.from_pretrained(base(), folder).base_model.model
        for name, layer in task_vector(folder).items():
            expected = adapter.get_submodule(name.removesuffix(".weight")).get_delta_weight("default")
            torch.testing.assert_close(layer, expected, atol=1e-6, rtol=0)


def test_order_does_not_matter_and_sums_are_linear(components: list[Path]) -> None:
    vectors = [task_vector(f) for f in components]
    forward = weighted_sum(vectors, WEIGHTS)
    backward = weighted_sum(vectors[::-1], WEIGHTS[::-1])
    doubled = weighted_sum(vectors, [2 * w for w in WEIGHTS])
    for name in forward:
        torch.testing.assert_close(forward[name], backward[name])
        torch.testing.assert_close(doubled[name], 2 * forward[name])


def test_every_linear_layer_is_merged_and_the_shape_stays(components: list[Path]) -> None:
    vector = task_vector(components[0])
    linear = {f"{n}.weight" for n, m in base().named_modules() if isinstance(m, nn.Linear)}
    assert set(vector) == linear
    before = {name: p.shape for name, p in base().named_parameters()}
    assert {name: p.shape for name, p in fold(base(), vector).named_parameters()} == before


@pytest.mark.parametrize(
    ("entry", "value"), [("use_dora", True), ("bias", "all"), ("rank_pattern", {"x": 2}), ("peft_type", "LOHA")]
)
def test_an_adapter_that_is_more_than_lora_is_refused(
    components: list[Path], tmp_path: Path, entry: str, value: object
) -> None:
    config = json.loads((components[0] / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {entry: value}))
    (tmp_path / "adapter_model.safetensors").write_bytes((components[0] / "adapter_model.safetensors").read_bytes())
    with pytest.raises(HarnessError, match="not a plain LoRA"):
        task_vector(tmp_path)


def test_rank_stabilised_lora_has_its_own_scaling(components: list[Path], tmp_path: Path) -> None:
    config = json.loads((components[0] / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))
    (tmp_path / "adapter_model.safetensors").write_bytes((components[0] / "adapter_model.safetensors").read_bytes())
    adapter = PeftModel.from_pretrained(base(), tmp_path).eval()
    torch.testing.assert_close(outputs(fold(base(), task_vector(tmp_path))), outputs(adapter), atol=1e-5, rtol=0)


def test_a_broken_or_missing_file_is_named(components: list[Path], tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        task_vector(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes((components[0] / "adapter_config.json").read_bytes())
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(HarnessError, match="cannot be read"):
        task_vector(tmp_path)


def test_a_vector_that_does_not_fit_is_refused(components: list[Path]) -> None:
    vector = dict(task_vector(components[0]))
    name = next(iter(vector))
    with pytest.raises(ValueError, match="the model has no"):
        fold(base(), {name: vector[name][:1]})
    with pytest.raises(ValueError, match="the model has no"):
        fold(base(), {"no.such.layer.weight": vector[name]})
    with pytest.raises(ValueError, match="different layers"):
        weighted_sum([vector, {name: vector[name]}], [0.5, 0.5])


def test_into_bfloat16_the_sum_is_made_in_float32_and_rounded_once(components: list[Path]) -> None:
    vector = weighted_sum([task_vector(f) for f in components], WEIGHTS)
    half = base().to(torch.bfloat16)
    before = {name: weight.detach().float() for name, weight in half.named_parameters()}
    fold(half, vector)
    for name, weight in half.named_parameters():
        expected = (before[name] + vector[name]).bfloat16() if name in vector else before[name].bfloat16()
        assert torch.equal(weight, expected)


def test_a_model_has_its_weights_back_after_a_temporary_fold(components: list[Path]) -> None:
    model = base()
    before = outputs(model)
    with folded(model, task_vector(components[0])):
        assert (outputs(model) - before).abs().max() > 0.01
    assert torch.equal(outputs(model), before)


def merged(rule: MergeRule, folders: list[Path], seed: int = 0) -> TaskVector:
    """What a rule that needs no context but the run's seed makes of some components."""
    context = SimpleNamespace(seed=seed)
    return rule.merge([Component(("any",), folder) for folder in folders], context)  # type: ignore[arg-type]


def entries(vector: TaskVector) -> torch.Tensor:
    return torch.cat([layer.flatten() for layer in vector.values()])


def test_without_pruning_other_rules_are_plain_sums(components: list[Path]) -> None:
    mean = entries(weighted_sum([task_vector(f) for f in components], [1 / 3] * 3))
    torch.testing.assert_close(entries(merged(EqualWeights(), components)), mean)
    torch.testing.assert_close(entries(merged(MagnitudePruning(density=1.0), components)), mean)
    with pytest.warns(UserWarning, match="no pruning"):
        torch.testing.assert_close(entries(merged(Dare(density=1.0), components)), mean)
    torch.testing.assert_close(entries(merged(TaskArithmetic(scale=0.7), components)), 3 * 0.7 * mean)


def test_weights_are_one_for_each_component(components: list[Path]) -> None:
    expected = weighted_sum([task_vector(f) for f in components], WEIGHTS)
    torch.testing.assert_close(entries(merged(Weighted(tuple(WEIGHTS)), components)), entries(expected))
    with pytest.raises(HarnessError, match=r"rule\.weights: 2 weights for 3 components"):
        merged(Weighted((0.5, 0.5)), components)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
def test_pruning_rules_give_what_peft_gives(components: list[Path], density: float) -> None:
    vectors = [task_vector(f) for f in components]
    for rule, function, weight in (
        (Ties(density, scale=0.7), merge_utils.ties, 0.7),
        (MagnitudePruning(density, scale=0.7), merge_utils.magnitude_prune, 0.7 / 3),
    ):
        for name, layer in merged(rule, components).items():
            expected = function([vector[name] for vector in vectors], torch.full((3,), weight), density)
            assert torch.equal(layer == 0, expected == 0)
            torch.testing.assert_close(layer, expected)


def test_ties_is_what_its_paper_says_entry_by_entry(components: list[Path]) -> None:
    vectors = [task_vector(f) for f in components]
    result = merged(Ties(density=0.5), components)
    for name in list(result)[:3]:
        kept = []
        for vector in vectors:
            flat = vector[name].flatten()
            order = flat.abs().argsort(descending=True)[: flat.numel() // 2]
            kept.append(torch.zeros_like(flat).index_put((order,), flat[order]))
        for index, value in enumerate(result[name].flatten().tolist()):
            entry = [float(k[index]) for k in kept]
            elected = 1 if sum(entry) >= 0 else -1
            agreeing = [part for part in entry if part * elected > 0]
            assert value == pytest.approx(sum(agreeing) / len(agreeing) if agreeing else 0.0, abs=1e-6)


def test_dare_is_unbiased_and_draws_the_same_again(components: list[Path]) -> None:
    first, again = (entries(merged(Dare(density=0.5), components)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, entries(merged(Dare(density=0.5, seed=1), components)))
    assert not torch.equal(first, entries(merged(Dare(density=0.5), components, seed=1)))
    mean = entries(weighted_sum([task_vector(f) for f in components], [1 / 3] * 3))
    assert float((first * mean).sum() / (mean * mean).sum()) == pytest.approx(1, abs=0.05)
    assert float((first == 0).float().mean()) == pytest.approx(0.125, abs=0.02)


def test_target_scaled_uses_the_first_component_alone(components: list[Path]) -> None:
    first = entries(task_vector(components[0]))
    for choice in chosen_target_scale().choices_for(3):
        torch.testing.assert_close(entries(merged(TargetScaled(**choice), components)), choice["scale"] * first)


def test_random_merge_keeps_the_norms_of_the_other_components_only(components: list[Path]) -> None:
    vectors = [task_vector(f) for f in components]
    result = entries(merged(RandomMerge(rank=2), components))
    assert torch.equal(result, entries(merged(RandomMerge(rank=2), components)))
    assert not torch.equal(result, entries(merged(RandomMerge(rank=2, seed=1), components)))
    assert not torch.equal(result, entries(merged(RandomMerge(rank=2), components, seed=1)))
    pair = merged(RandomMerge(rank=2), components[:2])
    for layer, change in vectors[1].items():
        noise = 2 * pair[layer] - vectors[0][layer]
        torch.testing.assert_close(noise.norm(), change.norm(), rtol=1e-4, atol=1e-6)
        assert int(torch.linalg.matrix_rank(noise, rtol=1e-4)) == min(2, *noise.shape)
    noise = entries(weighted_sum([pair, vectors[0]], [2.0, -1.0]))
    assert abs(float(torch.nn.functional.cosine_similarity(noise, entries(vectors[1]), dim=0))) < 0.2


def test_a_layer_is_computed_on_access(components: list[Path]) -> None:
    vectors = [task_vector(f) for f in components]
    total = weighted_sum(vectors, WEIGHTS)
    for name in total:
        expected = sum(w * v[name] for w, v in zip(WEIGHTS, vectors, strict=True))
        torch.testing.assert_close(total[name], expected)
    assert len(total) == len(vectors[0])


@pytest.mark.parametrize("n", [2, 3])
def test_the_first_choice_of_weights_is_weaverec_s_own(n: int) -> None:
    assert chosen_weights().choices_for(n)[0]["weights"] == [1 / n] * n


def test_weights_are_searched_on_the_way_to_the_target_s_component_first() -> None:
    assert [choice["weights"] for choice in chosen_weights().choices_for(2)] == [
        pytest.approx(weights) for weights in ([0.5, 0.5], [1, 0], [0.75, 0.25], [0.25, 0.75], [0.875, 0.125], [0, 1])
    ]
    for n in (3, 4, 5):
        first, *others = zip(*(choice["weights"] for choice in chosen_weights().choices_for(n)), strict=True)
        assert max(first) == 1
        assert sum(1 / n < w < 1 for w in first) >= 1  # neither equal nor alone
        # The tries left go to the others, in turn.
        assert sum(max(weights) > 0.5 for weights in others) == min(n - 1, TRIES - 3)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize(
    "search",
    [chosen_weights, chosen_task_arithmetic, chosen_ties, chosen_dare, chosen_magnitude_pruning, chosen_target_scale],
)
def test_every_rule_has_the_same_budget_of_tries(search, n: int) -> None:
    choices = search().choices_for(n)
    assert len(choices) == TRIES
    for choice in choices:
        if "weights" in choice:
            assert sum(choice["weights"]) == pytest.approx(1, abs=1e-3)
            assert min(choice["weights"]) >= 0
