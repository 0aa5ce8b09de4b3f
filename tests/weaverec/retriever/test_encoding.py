import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Catalogue
from harness.protocol.split import Histories
from tests.conftest import domain_of
from weaverec.lm.backbone import find_backbone, load
from weaverec.retriever.encoding import (
    RetrieverSettings,
    catalogue_vectors,
    contexts_before,
    contexts_of,
    history_encoder,
    retriever,
)

SETTINGS = RetrieverSettings(history=3, decay=0.5)


def brute_vector(history: list[int], vectors: np.ndarray) -> np.ndarray:
    total = np.zeros(vectors.shape[1])
    for age, item in enumerate(history[::-1][: SETTINGS.history]):
        total += SETTINGS.decay**age * vectors[item]
    norm = np.linalg.norm(total)
    return total / norm if norm > 1e-12 else total


@given(st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=6))
def test_history_vectors_are_what_the_definition_says(sequences: list[list[int]]) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    pooled = contexts_of(domain_of(sequences, 10).interactions, SETTINGS).pooled(torch.from_numpy(vectors))
    for row, history in zip(pooled.numpy(), sequences, strict=True):
        np.testing.assert_allclose(row, brute_vector(history, vectors), atol=1e-5)


@given(st.lists(st.lists(st.integers(0, 9), max_size=7), min_size=1, max_size=6))
def test_training_reads_each_prefix_as_scoring_would(sequences: list[list[int]]) -> None:
    flat = domain_of(sequences, 10).interactions
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32))
    in_training = contexts_before(flat, np.arange(len(flat.items)), SETTINGS).pooled(vectors)
    prefixes = [s[:k] for s in sequences for k in range(len(s))]
    if prefixes:
        alone = contexts_of(domain_of(prefixes, 10).interactions, SETTINGS).pooled(vectors)
        torch.testing.assert_close(in_training, alone)


def test_gradients_reach_the_item_vectors() -> None:
    vectors = torch.randn(10, 4, requires_grad=True)
    contexts_of(domain_of([[1, 2], [3]], 10).interactions, SETTINGS).pooled(vectors)[:, 0].sum().backward()
    touched = vectors.grad.abs().sum(1) > 0
    assert touched.tolist() == [False, True, True, True] + [False] * 6


@pytest.fixture(scope="module")
def minilm():
    return load(find_backbone("minilm"))


TEXTS = ["Toy Story", "A", "The Good, the Bad and the Ugly (1966) Action Western", "Heat (1995)", "Toy Story"]


def encoder_of(texts: list[str], minilm, max_tokens: int = 32):
    catalogue = Catalogue(tuple(map(str, range(len(texts)))), tuple(texts))
    return history_encoder(find_backbone("minilm"), catalogue, minilm[1], RetrieverSettings(max_tokens))


def test_vectors_are_those_of_one_text_at_a_time(minilm) -> None:
    model, tokenizer = minilm
    encoder = encoder_of(TEXTS, minilm)
    together = catalogue_vectors(model, encoder)
    with torch.no_grad():
        for text, vector in zip(TEXTS, together, strict=True):
            tokens = tokenizer(text, return_tensors="pt")
            alone = model(**tokens).last_hidden_state[0].mean(0)
            torch.testing.assert_close(vector, alone / alone.norm(), atol=1e-5, rtol=0)
        some = encoder.items(model, np.array([3, 0]))
    torch.testing.assert_close(some, together[[3, 0]], atol=1e-5, rtol=0)
    assert torch.equal(together[0], together[4])


def test_accumulated_gradients_are_the_same_and_keep_no_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weaverec.lm.tokens.BATCH_TOKENS", 64)  # several batches
    model, tokenizer = load(find_backbone("minilm"))
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    catalogue = Catalogue(tuple(map(str, range(len(texts)))), tuple(texts))
    weight = model.encoder.layer[0].attention.self.query.weight.requires_grad_(True)
    gradients, kept = [], []
    for accumulate in (False, True):
        encoder = history_encoder(
            find_backbone("minilm"), catalogue, tokenizer, RetrieverSettings(), accumulate=accumulate
        )
        size = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal size
            size += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            vectors = encoder.items(model, np.arange(len(texts)))
        kept.append(size)
        (gradient,) = torch.autograd.grad((vectors @ vectors.T).logsumexp(1).sum(), weight)
        gradients.append(gradient)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)
    assert kept[1] < kept[0] / 20


def test_long_texts_are_cut(minilm) -> None:
    cut, same = catalogue_vectors(minilm[0], encoder_of(["word " * 100, "word " * 6], minilm, 8))
    torch.testing.assert_close(cut, same, atol=1e-5, rtol=0)


def test_the_backbone_knows_what_is_alike(minilm) -> None:
    texts = ["Star Wars (1977)", "The Empire Strikes Back (1980)", "Cinderella (1950)"]
    scorer = retriever(minilm[0], encoder_of(texts, minilm))
    history = domain_of([[0]], 3).interactions
    scores = scorer.score(Histories(np.array([0]), history), None)[0]
    assert scores[1] > scores[2]
