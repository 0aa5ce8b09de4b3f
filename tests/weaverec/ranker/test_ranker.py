"""The ranker head on tiny random decoder-only models."""

import copy
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.data.domain import Catalogue, Sequences
from harness.data.prepare import prepare
from harness.errors import HarnessError
from harness.evaluation.rank_scorer import rank_candidates, rank_full, rank_retrieved
from harness.methods.api import DotProduct, FitContext, VectorScorer
from harness.methods.registry import make_method
from harness.protocol.metrics import ndcg, per_user
from harness.protocol.ranks import MISSED
from harness.protocol.split import HeldOut, Histories, LeaveOneOut, SelectedOnTest, TrainingData
from harness.protocol.suite import Budget
from harness.run.artefact import RunArtefacts
from harness.storage.store import Store
from tests.conftest import toy_raw
from tests.contexts import make_context
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import find_backbone, load
from weaverec.merging.method import MergedModel
from weaverec.merging.search import TRIES
from weaverec.ranker.attention import packable
from weaverec.ranker.likelihood import likelihoods
from weaverec.ranker.method import RankerHead, by_name
from weaverec.ranker.prompt import PromptSettings, make_prompt, prompt_tokens, shown_titles, shuffled, title_tokens
from weaverec.ranker.scorer import FAULTS, Ranker, _EnoughLines, read_list
from weaverec.ranker.train import Example, RankerSettings, answer_loss, examples, ranker_component

TITLES = tuple(f"film number {i}" + " abc" * (i % 3) for i in range(12))
CATALOGUE = Catalogue(tuple(map(str, range(12))), TITLES)
HISTORIES = Histories(np.array([0, 1, 2]), Sequences.of([[1, 2, 3], [4], []]))
PROMPT = PromptSettings(candidates=5, answers=3)


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def loaded(request, tmp_path_factory: pytest.TempPathFactory):
    backbone = decoder(request.param, tmp_path_factory.mktemp(request.param))
    return backbone, *load(backbone, "tokens")


def ranker(loaded, by_list: bool = False) -> Ranker:
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    finder = DotProduct(vectors, lambda h: np.stack([vectors[s].sum(0) for s in h.sequences]))
    return Ranker(loaded[1], loaded[2], CATALOGUE, finder, PROMPT, by_list=by_list, max_new_tokens=12)


def learned(loaded) -> Example:
    """A training prompt whose history is learned too."""
    prompt = make_prompt(TITLES, np.array([3, 0, 8]), np.arange(0), loaded[2], replace(PROMPT, listed=False))
    return Example(prompt.tokens, title_tokens(TITLES, np.array([4]), loaded[2], PROMPT)[0], prompt.history)


def one_by_one(model, prompt: list[int], answers: list[list[int]]) -> list[float]:
    """The mean log-probability of each answer, by one plain pass for each."""
    means = []
    for answer in answers:
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].float().log_softmax(-1)
        means.append(np.mean([log_p[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer)]))
    return means


@pytest.mark.parametrize("packs", [True, False])
def test_likelihoods_are_those_of_one_plain_pass_for_each_answer(loaded, monkeypatch, packs: bool) -> None:
    _, model, tokenizer = loaded
    assert packable(model)
    monkeypatch.setattr("weaverec.ranker.likelihood.packable", lambda _: packs)
    prompt = prompt_tokens(TITLES, np.array([1, 2]), np.arange(5), tokenizer, PROMPT)
    titles = title_tokens(TITLES, np.arange(12), tokenizer, PROMPT)
    for answers in ([*titles, [7]], titles[:1], [[7], [9], [7]]):
        scores = likelihoods(model, prompt, answers)
        assert scores.tolist() == pytest.approx(one_by_one(model, prompt, answers), abs=1e-4)


def test_only_models_that_see_all_tokens_before_are_packed(loaded) -> None:
    _, model, _ = loaded
    windowed = SimpleNamespace(config=copy.deepcopy(model.config))
    windowed.config.layer_types = ["full_attention", "sliding_attention"]
    assert not packable(windowed)
    recurrent = SimpleNamespace(config=SimpleNamespace(model_type="mamba"))
    assert not packable(recurrent)


def test_training_s_loss_is_the_likelihood_that_scoring_uses(loaded) -> None:
    _, model, tokenizer = loaded
    prompts = [prompt_tokens(TITLES, np.array(h), np.arange(5), tokenizer, PROMPT) for h in ([1, 2], [3])]
    answers = title_tokens(TITLES, np.array([4, 2]), tokenizer, PROMPT)
    batch = [Example(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    expected = -sum(float(likelihoods(model, e.prompt, [e.answer])) for e in batch)
    assert float(answer_loss(model, batch, tokenizer.pad_token_id)) == pytest.approx(expected, abs=1e-4)
    # A title of the history is learned as an answer to what stands before it.
    example = learned(loaded)
    text = [*example.prompt, *example.answer]
    titles = [float(likelihoods(model, text[:start], [text[start:end]])) for start, end in example.learned]
    assert len(titles) == 4
    both = float(answer_loss(model, [example, batch[0]], tokenizer.pad_token_id))
    assert both == pytest.approx(-np.mean(titles) - one_by_one(model, batch[0].prompt, [answers[0]])[0], abs=1e-4)


def test_scores_follow_the_candidates_in_any_order(loaded) -> None:
    scorer = ranker(loaded)
    candidates = np.array([[0, 4, 6, 8, 9]] * 3)
    scores = scorer.score(HISTORIES, candidates)
    assert scores.shape == (3, 5)
    assert np.isfinite(scores).all()
    order = np.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(scorer.score(HISTORIES, candidates[:, order]), scores[:, order], atol=1e-6)
    alone = scorer.score(HISTORIES.block(1, 2), candidates[1:2])
    np.testing.assert_allclose(alone[0], scores[1], atol=1e-4)


def test_what_a_second_order_of_candidates_changes_is_reported_for_some_users(loaded) -> None:
    scorer, candidates = ranker(loaded), np.array([[1, 5, 6, 7, 8]] * 3)
    plain = scorer.score(HISTORIES, candidates)
    assert scorer.prompt_order()["users"] == 0
    scorer.reordered = 2
    np.testing.assert_array_equal(scorer.score(HISTORIES, candidates), plain)
    first = scorer.prompt_order()
    assert first["users"] == 2
    assert -1 <= first["kendall_tau"] < 1
    assert {first["other_first"], first["first_third"]} <= {0, 0.5, 1}
    assert scorer.prompt_order()["users"] == 0
    # A model that does not see places: its scores depend on titles alone.
    scorer._by_likelihood = lambda _, offered: (items.astype(float) for items in offered)
    scorer.score(HISTORIES, candidates)
    blind = scorer.prompt_order()
    assert blind["kendall_tau"] == pytest.approx(1)
    assert blind["other_first"] == 0
    best_in_first_third = [
        shuffled(row, user, 0).argmax() < 5 / 3 for row, user in zip(candidates[:2], HISTORIES.users[:2], strict=True)
    ]
    assert blind["first_third"] == np.mean(best_in_first_third)


def test_of_a_whole_catalogue_the_retrievers_best_are_reordered_and_the_rest_keep_their_order(loaded) -> None:
    scorer = ranker(loaded)
    first, scores = scorer.retriever.score(HISTORIES, None), scorer.score(HISTORIES, None)
    for row, history in enumerate(HISTORIES.sequences):
        outside = [i for i in range(12) if i not in history]
        best = sorted(outside, key=lambda i: -first[row, i])[:5]
        assert sorted(np.argsort(-scores[row])[:5]) == sorted(best)
        others = [i for i in range(12) if i not in best]
        np.testing.assert_array_equal(scores[row, others], first[row, others])
        ranked = scorer.score(HISTORIES.block(row, row + 1), np.array([sorted(best)]))[0]
        assert list(np.argsort(scores[row, sorted(best)])) == list(np.argsort(ranked))


def test_a_user_s_candidates_do_not_depend_on_the_batch(loaded) -> None:
    scorer = replace(ranker(loaded), settings=replace(PROMPT, candidates=12))
    assert len(set(HISTORIES.sequences.lengths.tolist())) > 1
    together = scorer.score(HISTORIES, None)
    for row in range(len(HISTORIES.users)):
        alone = scorer.score(HISTORIES.block(row, row + 1), None)[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-5)


@pytest.mark.parametrize("by_list", [False, True])
def test_a_user_with_the_whole_catalogue_has_no_prompt(loaded, by_list: bool) -> None:
    scorer = ranker(loaded, by_list)
    everything = Histories(np.array([0, 1]), Sequences.of([range(12), [4]]))
    scores = scorer.score(everything, None)
    np.testing.assert_array_equal(
        scores[0], np.full(12, -np.inf) if by_list else scorer.retriever.score(everything, None)[0]
    )
    np.testing.assert_allclose(scores[1], scorer.score(everything.block(1, 2), None)[0], atol=1e-5)


def test_of_more_candidates_than_a_prompt_offers_the_retriever_s_best_are_reordered(loaded) -> None:
    scorer = ranker(loaded)
    candidates = np.array([[0, 4, 5, 6, 7, 8, 9, 10]] * 3)
    near = scorer.retriever.score(HISTORIES, candidates)
    scores = scorer.score(HISTORIES, candidates)
    for row in range(2):  # to one without a history, all items are equally near
        best = np.sort(np.argsort(-near[row])[:5])
        others = np.setdiff1d(np.arange(8), best)
        assert scores[row, best].min() > scores[row, others].max()
        np.testing.assert_array_equal(scores[row, others], near[row, others])
        alone = scorer.score(HISTORIES.block(row, row + 1), candidates[row : row + 1, best])[0]
        np.testing.assert_allclose(np.diff(scores[row, best]), np.diff(alone), atol=1e-4)


def test_lists_that_are_written_together_are_those_written_alone(loaded) -> None:
    scorer = replace(ranker(loaded, by_list=True), max_new_tokens=40)
    prompts = [prompt_tokens(TITLES, np.arange(n), np.arange(5 + n), loaded[2], PROMPT) for n in (0, 1, 4, 1, 7, 0, 4)]
    alone = [scorer._write([prompt])[0] for prompt in prompts]
    assert scorer._write(prompts) == alone == replace(scorer, at_once=1)._write(prompts)
    assert len(set(alone)) > 1


def test_an_answer_ends_with_its_last_line(loaded) -> None:
    tokenizer = loaded[2]
    start = tokenizer("a prompt\n\n\n\n")["input_ids"]
    texts = ["one\n\ntwo\nthree", "one\n\ntwo\nthree\n", "one\ntwo\n \n\n", "one\n<|end|>" + "<pad>" * 4]
    ended = []
    for text in texts:
        row = torch.tensor([[*start, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        ended += _EnoughLines(tokenizer, len(start), 3)(row, None).tolist()
    assert ended == [False, True, False, False]


def test_titles_are_cut_and_missing_ones_are_no_blank_lines(loaded) -> None:
    tokenizer = loaded[2]
    titles = ("abc", "", "film number " * 40, "été " * 40)
    few = PromptSettings(title_tokens=10)
    shown = shown_titles(titles, np.arange(4), tokenizer, few)
    assert shown[:2] == ["abc", "(untitled)"]
    assert titles[2].startswith(shown[2])
    assert "été été" in shown[3] or shown[3].startswith("été")
    assert "\ufffd" not in shown[3]
    assert all(len(tokenizer(title, add_special_tokens=False)["input_ids"]) <= 12 for title in shown)
    prompt = tokenizer.decode(prompt_tokens(titles, np.array([2]), np.array([1, 3]), tokenizer, few))
    assert f"{shown[2]}\n\nCandidates:\n(untitled)\n{shown[3]}" in prompt
    answers = [tokenizer.decode(answer) for answer in title_tokens(titles, np.arange(4), tokenizer, few)]
    assert read_list("".join(answers), shown, 4) == (pytest.approx(np.array([4.0, 3, 2, 1])), [])


@pytest.mark.parametrize("template", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_the_titles_of_the_history_are_found_in_the_prompt(loaded, listed: bool, template: bool) -> None:
    tokenizer = copy.deepcopy(loaded[2])
    if not template:
        tokenizer.chat_template = None
    history, candidates, settings = np.array([3, 0, 8]), np.array([1, 3]), replace(PROMPT, listed=listed)
    prompt = make_prompt(TITLES, history, candidates, tokenizer, settings)
    found = [tokenizer.decode(prompt.tokens[start:end]) for start, end in prompt.history]
    assert [title.removesuffix("\n") for title in found] == [TITLES[item] for item in history]
    # Titles have the same tokens in a history and as an answer; the last may end its message, without a line break.
    lines = title_tokens(TITLES, history, tokenizer, settings)
    assert [prompt.tokens[start:end] for start, end in prompt.history[:-1]] == lines[:-1]
    assert (TITLES[1] in tokenizer.decode(prompt.tokens)) == listed
    assert make_prompt(TITLES, history[:0], candidates, tokenizer, settings).history == []


def test_the_latest_item_is_always_shown(loaded) -> None:
    prompt = prompt_tokens(TITLES, np.array([3, 8]), np.arange(5), loaded[2], PromptSettings(max_tokens=1))
    chosen = loaded[2].decode(prompt).partition("Candidates:")[0]
    assert TITLES[8] in chosen
    assert TITLES[3] not in chosen


@pytest.mark.parametrize("setting", [{"by_list": True}, {"answer": "list"}])
def test_what_needs_listed_candidates_is_refused_without_them(loaded, setting: dict[str, object]) -> None:
    method = quick_ranker(loaded, **{"prompt.listed": False, **setting})
    with pytest.raises(HarnessError, match="needs candidates in the prompt"):
        method.artefacts(toy_data(), Budget(1, 1, 1), 0)


def test_a_ranker_trained_on_single_titles_is_not_read_by_list(loaded) -> None:
    method = quick_ranker(loaded, by_list=True)
    with pytest.raises(HarnessError, match="cannot be read by_list of 5"):
        method.artefacts(toy_data(), Budget(1, 1, 1), 0)
    for more in ({"answer": "list"}, {"prompt.answers": 1}):
        quick_ranker(loaded, by_list=True, **more).artefacts(toy_data(), Budget(1, 1, 1), 0)
    with pytest.raises(HarnessError, match='answer: found "lists"'):
        quick_ranker(loaded, answer="lists")


def test_faiss_retrieves_and_the_ranker_reorders(loaded) -> None:
    scorer = ranker(loaded)
    some = HISTORIES.block(0, 2)  # to one without a history, all items are equally near
    held_out = HeldOut(some, np.array([5, 6]), np.zeros(2, dtype=np.int64))
    assert isinstance(scorer, VectorScorer)
    ranks, _ = rank_retrieved(scorer, held_out, 4)
    first = scorer.retriever.score(some, None)
    for row, history in enumerate(some.sequences):
        retrieved = np.array(sorted((i for i in range(12) if i not in history), key=lambda i: -first[row, i])[:4])
        target = held_out.targets[row]
        if target in retrieved:
            scores = scorer.score(HISTORIES.block(row, row + 1), retrieved[None])[0]
            assert ranks.above[row] == (scores > scores[retrieved == target]).sum()
        else:
            assert ranks.above[row] == MISSED


def test_what_a_list_does_not_name_is_a_miss_and_every_user_stays(loaded) -> None:
    scorer = ranker(loaded, by_list=True)
    held_out = HeldOut(HISTORIES, np.array([5, 6, 7]), np.zeros(3, dtype=np.int64))
    for ranked in (
        partial(rank_full, scorer, held_out, 12),
        partial(rank_candidates, scorer, held_out, np.array([[1, 5, 6, 7, 8]] * 3), 12),
    ):
        ranks = ranked()
        assert len(ranks.above) == 3
        # A random model's answer is gibberish.
        assert all((values == 0).all() for values in per_user(ranks).values())
        validity = scorer.validity()
        assert validity["answers"] == 3
        assert validity["nothing usable"] == validity["outside the candidates"] == 1
    assert scorer.validity()["answers"] == 0


def test_lists_are_read_title_by_title_and_faults_are_named() -> None:
    offered = ["Heat", "Toy Story", "Heat ", "Babe"]
    scores, faults = read_list("nonsense\n toy  STORY \nToy Story\nheat\nBabe\nBabe", offered, 5)
    assert scores.tolist() == [2, 4, 2, 1]
    assert faults == ["named twice", "outside the candidates", "title of several candidates"]
    scores, faults = read_list("Babe", offered, 5)
    assert scores.tolist() == [-np.inf, -np.inf, -np.inf, 5]
    assert faults == ["short"]
    assert read_list("", offered, 5)[1] == ["nothing usable", "short"]


def test_a_list_may_keep_the_numbers_of_the_prompt_s() -> None:
    offered = ["12 Monkeys", "2. Fast 2. Furious", "Babe", "3) Babe"]
    scores, faults = read_list("1. Babe\n2) 12 Monkeys\n2. Fast 2. Furious\n3) Babe\n9. 3) Babe", offered, 5)
    assert scores.tolist() == [4, 3, 5, 2]
    assert faults == ["named twice"]


@given(
    st.text(alphabet="ab \n1.", max_size=60), st.lists(st.text(alphabet="ab 1.", max_size=3), min_size=1, max_size=6)
)
def test_any_answer_gives_scores_and_known_faults(answer: str, offered: list[str]) -> None:
    scores, faults = read_list(answer, offered, 5)
    assert len(scores) == len(offered)
    assert not np.isnan(scores).any()
    assert set(faults) <= set(FAULTS)
    assert len({float(s) for s in scores if np.isfinite(s)}) <= 5


def test_a_long_history_loses_its_oldest_titles_and_the_prompt_its_chat_marks_never(loaded) -> None:
    _, _, tokenizer = loaded
    history = np.arange(12)
    whole = prompt_tokens(TITLES, history, np.arange(3), tokenizer, PROMPT)
    cut = prompt_tokens(TITLES, history, np.arange(3), tokenizer, PromptSettings(max_tokens=len(whole) - 1))
    assert len(cut) < len(whole)
    text = tokenizer.decode(cut)
    assert text.startswith("<|system|>")
    assert text.endswith("<|assistant|>")
    assert TITLES[11] in text
    assert TITLES[0] not in text.partition("Candidates:")[0].splitlines()


def test_the_order_of_candidates_depends_on_user_and_seed_alone() -> None:
    candidates = np.array([9, 3, 5, 1])
    assert list(shuffled(candidates, 3, 0)) == list(shuffled(np.sort(candidates), 3, 0))
    orders = {tuple(shuffled(candidates, user, seed)) for user in range(20) for seed in range(2)}
    assert len(orders) > 10


def toy_data() -> TrainingData:
    parts = {n: LeaveOneOut().training(prepare(toy_raw(n, i, 8, 15), 1)) for i, n in enumerate("ab")}
    return TrainingData("a", ("b",), parts)


def test_training_prompts_hold_the_target_once_and_nothing_else_that_the_user_knows(loaded) -> None:
    _, _, tokenizer = loaded
    domain = toy_data().domains["a"]
    settings = RankerSettings(prompt=PromptSettings(candidates=6, answers=3))
    plain = list(examples(domain, tokenizer, settings, np.random.default_rng(0)))
    assert len(plain) == len(domain.train.items) - len(domain.train)
    one_each = list(examples(domain, tokenizer, replace(settings, prompts_per_user=1), np.random.default_rng(0)))
    assert len(one_each) == (domain.train.lengths > 1).sum()
    few = list(examples(domain, tokenizer, replace(settings, prompts_per_user=2, cap=3), np.random.default_rng(0)))
    assert len(few) == 3
    for example in plain[:10]:
        text = tokenizer.decode(example.prompt)
        answer = tokenizer.decode(example.answer).removesuffix("<|end|>").strip()
        listed = text.partition("Candidates:\n")[2].partition("<|end|>")[0].splitlines()
        assert sum(line == answer for line in listed) == 1
        assert len(listed) == 6


def test_the_authors_choices_are_settings(loaded) -> None:
    _, _, tokenizer = loaded
    domain = toy_data().domains["a"]
    settings = RankerSettings(prompt=PromptSettings(candidates=6, answers=3))

    def made_with(**changes: object) -> list[Example]:
        return list(examples(domain, tokenizer, replace(settings, **changes), np.random.default_rng(0)))

    assert len(made_with(train_on_validation=True)) == len(made_with()) + len(domain.validation.targets)
    assert not any(example.history for example in made_with())
    assert all(example.history for example in made_with(learn_history=True))
    unlisted = made_with(prompt=replace(settings.prompt, listed=False))
    assert not any("Candidates:" in tokenizer.decode(example.prompt) for example in unlisted)
    lines = tokenizer.decode(made_with(answer="list")[0].answer).removesuffix("<|end|>").strip().splitlines()
    assert len(lines) == 3


def test_nobody_trains_on_the_test_events(loaded) -> None:
    parts = {n: SelectedOnTest().training(prepare(toy_raw(n, i, 8, 15), 1)) for i, n in enumerate("ab")}
    data = TrainingData("a", ("b",), parts)
    settings = quick_ranker(loaded).settings
    ranker_component(data, ("a",), settings, Budget(1, 1, 1), 0)
    with pytest.raises(HarnessError, match="would train on the test events"):
        ranker_component(data, ("a",), replace(settings, train_on_validation=True), Budget(1, 1, 1), 0)


def quick_ranker(loaded, method: str = "weaverec", **more: Any) -> MergedModel:
    steps = {"steps": 2, "batch": 4, "cap": 10, "prompt.candidates": 4, "weights": "float32"}
    return by_name(method).tuned({"backbone": str(loaded[0].folder), **steps, **more})


def test_a_longer_training_reads_more_tokens(loaded) -> None:
    settings = {"backbone": str(loaded[0].folder), "batch": 4, "cap": 10, "prompt.candidates": 4}
    head = RankerHead().with_settings(settings)
    short, long = (head.component(toy_data(), ("a",), Budget(1, 50, 1), 0, times).estimate() for times in (1, 3))
    assert long.tokens > 2 * short.tokens


def test_a_ranker_is_trained_merged_and_scored(loaded, tmp_path: Path) -> None:
    method = quick_ranker(loaded, validation_users=3)
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    scorer = method.fit(toy_data(), FitContext(Budget(1, 1, 1), 0, "cpu", artefacts))
    assert [r.label for r in artefacts.records] == ["ranking LoRA on a, seed 0", "ranking LoRA on a + b, seed 0"]
    assert artefacts.records[0].steps == 2
    scores = scorer.score(toy_data().target_domain.validation.histories, None)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", ["weaverec-chosen", "task-arithmetic", "ties", "dare", "pruned-merge"])
def test_a_ranker_s_merge_is_chosen_by_its_own_validation(loaded, tmp_path: Path, name: str) -> None:
    method = quick_ranker(loaded, name, validation_users=8, learning_rate=0.1)
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    data, context = toy_data(), FitContext(Budget(1, 1, 1), 0, "cpu", artefacts)
    served = method.fit(data, context)
    *components, chosen = artefacts.records
    assert [component.kind for component in components] == ["lora", "lora"]
    assert chosen.kind == "merge"
    assert len(chosen.validation) == len(chosen.notes["tried"]) == TRIES
    assert len(set(chosen.validation)) > 1
    # What is served scores on the validation events what the best of its choices scored when it was tried.
    validation = data.target_domain.validation
    reached = ndcg(rank_full(served, validation, len(data.target_domain.catalogue)), 10).mean()
    assert reached == pytest.approx(max(chosen.validation), abs=1e-9)


def test_a_ranker_s_diagnosis_is_of_its_own_validation(loaded, tmp_path: Path) -> None:
    method = quick_ranker(loaded, validation_users=8)
    artefacts = RunArtefacts(Store(tmp_path), "cpu", lambda *_: None)
    context = FitContext(Budget(1, 1, 1), 0, "cpu", artefacts)
    alone, along, same_way, distances = method.diagnose(toy_data(), context, lambda *_: None)
    score = dict(alone.rows)
    assert list(score) == ["none: the base model", "a", "a + b", "all of them, in equal parts"]
    # The target's component was validated on these events when it was trained.
    assert score["a"] == pytest.approx(artefacts.records[0].validation[0], abs=1e-9)
    line = {(name, w): value for name, w, value in along.rows}
    assert line["a to a + b", 0.0] == score["a"]
    assert line["a to a + b", 1.0] == score["a + b"]
    assert len(same_way.rows) == 1
    assert [name for name, *_ in distances.rows] == ["a", "a + b"]


def test_a_ranker_can_be_planned_without_its_weights_but_not_run(loaded, tmp_path: Path) -> None:
    patterns = ("*.json", "*.jinja")
    for path in (path for pattern in patterns for path in loaded[0].folder.glob(pattern)):
        shutil.copy(path, tmp_path)
    whole, planned = (quick_ranker(loaded, backbone=str(folder)) for folder in (loaded[0].folder, tmp_path))
    estimates = [method.artefacts(toy_data(), Budget(1, 1, 1), 0)[0].estimate for method in (whole, planned)]
    assert all(estimates)
    assert estimates[0]() == estimates[1]()
    whole.check_files()
    with pytest.raises(HarnessError, match="has no weights") as refused:
        planned.check_files()
    assert "hf download" in str(refused.value.hint)
    # A download that stopped after the first of two parts.
    shutil.copy(loaded[0].folder / "model.safetensors", tmp_path / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(HarnessError, match="no weights model-00002-of-00002"):
        planned.check_files()


def test_a_ranker_s_estimate_counts_weights_prompts_and_logits(loaded) -> None:
    _, model, tokenizer = loaded
    method = quick_ranker(loaded, validation_users=8)
    estimate = method.artefacts(toy_data(), Budget(1, 1, 1), 0)[0].estimate
    assert estimate is not None
    taken = estimate()
    shown = list(examples(toy_data().target_domain, tokenizer, method.settings, np.random.default_rng(0)))
    a_prompt = np.mean([len(example.prompt) + len(example.answer) for example in shown])
    read = 10 + len(toy_data().target_domain.validation.targets)
    assert taken.tokens == pytest.approx(read * a_prompt, rel=0.3)
    weights = sum(weight.numel() for weight in model.parameters())
    logits = method.settings.most_tokens * np.mean([len(e.answer) for e in shown]) / a_prompt * len(tokenizer)
    layers = method.settings.most_tokens * 20 * model.config.num_hidden_layers * model.config.hidden_size
    assert taken.memory_gb * 1e9 == pytest.approx(4 * (weights + layers + 4 * logits), rel=0.05)


def test_an_encoder_cannot_rank_and_a_missing_model_is_named() -> None:
    with pytest.raises(HarnessError, match="is an encoder"):
        load(find_backbone("minilm"), "tokens")
    with pytest.raises(HarnessError, match="hf download Qwen/Qwen2-7B-Instruct"):
        make_method("ranker.weaverec").artefacts(toy_data(), Budget(1, 1, 1), 0)
    with pytest.raises(HarnessError, match="no method on the language model"):
        make_method("ranker.popularity")
    for by_entropy in ("ranker.adamerging", "ranker.weaverec-adaptive"):
        with pytest.raises(HarnessError, match="need a softmax over the catalogue"):
            make_method(by_entropy)


def test_a_training_that_computes_activations_twice_is_validated_like_one_that_keeps_them(
    loaded, tmp_path: Path
) -> None:
    curves = []
    for checkpointing in (True, False):
        method = make_method("ranker.target-only").tuned(
            {
                "backbone": str(loaded[0].folder),
                "steps": 2,
                "batch": 4,
                "cap": 10,
                "prompt.candidates": 4,
                "weights": "float32",
                "checkpointing": checkpointing,
            }
        )
        artefacts = RunArtefacts(Store(tmp_path / str(checkpointing)), "cpu", lambda *_: None)
        method.fit(toy_data(), FitContext(Budget(1, 1, 9), 0, "cpu", artefacts))
        curves.append(artefacts.records[0].validation)
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)


def test_a_ranker_trains_for_the_epochs_of_its_budget(loaded, tmp_path: Path) -> None:
    settings = RankerSettings(backbone=str(loaded[0].folder), batch=4, cap=10, epochs=2, weights="float32")
    for epochs, steps in ((1, 3), (9, 5)):  # ten prompts: 3 batches of up to four; twice ten: 5
        folder = tmp_path / str(epochs)
        folder.mkdir()
        artefact = ranker_component(toy_data(), ("a",), settings, Budget(1, epochs, 1), 0)
        assert artefact.make(folder, make_context(folder)).steps == steps


def test_an_exported_ranker_is_a_plain_model_that_writes(loaded, tmp_path: Path) -> None:
    method = make_method("ranker.weaverec").tuned(
        {"backbone": str(loaded[0].folder), "steps": 2, "batch": 4, "cap": 10, "weights": "float32"}
    )
    context = FitContext(Budget(1, 1, 9), 0, "cpu", RunArtefacts(Store(tmp_path / "store"), "cpu", lambda *_: None))
    folder = tmp_path / "model"
    folder.mkdir()
    method.export(toy_data(), context, folder)
    assert not list(folder.glob("adapter*"))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    served = method.fit(toy_data(), context)
    prompt = tokenizer("film number 3", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(prompt).logits
        torch.testing.assert_close(logits, served.model(prompt).logits, atol=1e-5, rtol=0)
        assert not torch.allclose(logits, loaded[1](prompt).logits, atol=1e-3)
    assert tokenizer.chat_template == loaded[2].chat_template
