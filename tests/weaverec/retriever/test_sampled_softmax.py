"""The softmax over a catalogue from the items of a step, against the softmax itself."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from harness.data.domain import Catalogue, Ints, Sequences
from harness.data.prepare import prepare
from harness.datasets import load_dataset
from harness.protocol.split import LeaveOneOut
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import find_backbone, load
from weaverec.retriever.encoding import Prefixes, RetrieverSettings, catalogue_vectors, history_encoder
from weaverec.retriever.sampled_softmax import StepItems, softmax_entropy, softmax_loss, step_items, user_shares
from weaverec.retriever.train import ComponentSettings, _batches, _Part

N_ITEMS, N_USERS = 40, 300


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    popular = rng.dirichlet(np.full(N_ITEMS, 0.5))
    chances = 0.9 * popular + 0.1 / N_ITEMS
    return Sequences.of(rng.choice(N_ITEMS, 4, replace=False, p=chances) for _ in range(N_USERS)), Whole(N_ITEMS)


class Whole:
    """As much of a reading as shares are counted by."""

    def __init__(self, n_items: int) -> None:
        self._n_items = n_items

    def __len__(self) -> int:
        return self._n_items

    def required_items(self, own: Sequences) -> Ints:
        found: Ints = np.unique(own.items)
        return found


def whole_catalogue(n_items: int) -> StepItems:
    return StepItems(np.arange(n_items), np.zeros(n_items, dtype=np.float32))


def followers(own: Sequences) -> Ints:
    return np.concatenate([np.arange(a + 1, max(a + 1, b)) for a, b in zip(own.offsets, own.offsets[1:], strict=False)])


def brute_losses(states: torch.Tensor, own: Sequences, vectors: torch.Tensor, temperature: float) -> torch.Tensor:
    """-log p of each item that follows another, among the items that its prefix lacks and itself, one by one."""
    losses = []
    for items in own:
        for place in range(1, len(items)):
            target, earlier = int(items[place]), set(items[:place].tolist())
            scores = vectors @ states[len(losses)] / temperature
            among = [item for item in range(len(vectors)) if item == target or item not in earlier]
            losses.append(scores[among].logsumexp(0) - scores[target])
    return torch.stack(losses)


def test_shares_are_those_of_users_with_the_item(corpus) -> None:
    sequences, reading = corpus
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    for item in (0, 7, 39):
        assert shares[item] == pytest.approx(np.mean([item in items for items in sequences]))


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=5).filter(lambda s: max(map(len, s)) > 1))
def test_a_prefix_s_earlier_items_are_no_candidates_but_the_one_that_follows_is(sequences: list[list[int]]) -> None:
    """Items come back, as a user may buy one again."""
    own, torch_rng = Sequences.of(sequences), torch.Generator().manual_seed(0)
    events = followers(own)
    vectors = torch.randn(10, 4, generator=torch_rng)
    states = torch.randn(len(events), 4, generator=torch_rng)
    found = softmax_loss(Prefixes(states, events), own, whole_catalogue(10), vectors, 0.5)
    torch.testing.assert_close(found, brute_losses(states, own, vectors, 0.5).mean(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["an encoder", "a decoder"])
def test_with_the_whole_catalogue_it_is_the_masked_softmax_of_either_reading(kind: str, tmp_path: Path) -> None:
    backbone = find_backbone("minilm") if kind == "an encoder" else decoder("qwen2", tmp_path)
    model, tokenizer = load(backbone)
    catalogue = Catalogue(tuple(map(str, range(12))), tuple(f"film number {i}" for i in range(12)))
    reading = history_encoder(backbone, catalogue, tokenizer, RetrieverSettings(history=3))
    own = Sequences.of([[1, 2, 3, 1, 4, 4, 5, 0], [6], [], [7, 7], [8, 9, 8]])
    with torch.no_grad():
        vectors = catalogue_vectors(model, reading)
        prefixes = reading.prefixes(model, own, vectors)
        found = softmax_loss(prefixes, own, whole_catalogue(12), vectors, 0.1)
    assert prefixes.events.tolist() == followers(own).tolist()
    torch.testing.assert_close(found, brute_losses(prefixes.vectors, own, vectors, 0.1).mean(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("place", [1, 3])
@pytest.mark.parametrize(("n_users", "size"), [(3, 0), (3, 20), (1, 12), (8, 30)])
def test_the_sum_over_a_sample_estimates_the_sum_over_the_catalogue(corpus, n_users: int, size: int, place) -> None:
    """exp(loss) = sum / exp(target's score): its mean over steps with the same user is the softmax's own."""
    sequences, reading = corpus
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    vectors, state = torch.randn(N_ITEMS, 4) / 2, torch.randn(1, 4) / 2
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    found, user = [], 5
    prefix = Prefixes(state, np.array([place]))
    for _ in range(6000):
        others = rng.choice(np.delete(np.arange(N_USERS), user), n_users - 1, replace=False)
        own = sequences.select(np.array([user, *others]))
        step = step_items(reading.required_items(own), shares, n_users, size, rng)
        found.append(softmax_loss(prefix, own, step, vectors[step.items], 1).exp())
    items = sequences[user]
    among = np.setdiff1d(np.arange(N_ITEMS), items[:place])
    if size == 0:
        # What no other user has is never seen.
        among = np.setdiff1d(among, np.setdiff1d(np.flatnonzero(shares == 0), items))
    scores = vectors @ state[0]
    wanted = (scores[among].logsumexp(0) - scores[items[place]]).exp()
    torch.testing.assert_close(torch.stack(found).mean(), wanted, rtol=0.03, atol=0)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("CDSR_DATA" not in os.environ, reason="CDSR_DATA names no folder of data sets")
def test_it_does_so_on_the_batches_of_amazon_beauty() -> None:
    """Where the most popular items score highest, so that an error in their chances shows."""
    raw = load_dataset("amazon2014-beauty").source.open("beauty", Path(os.environ["CDSR_DATA"]))
    domain = LeaveOneOut().training(prepare(raw, 1))
    n_items, settings = len(domain.catalogue), ComponentSettings()
    part = _Part(domain, Whole(n_items), settings, 0)
    rng = np.random.default_rng(0)
    popularity = np.log1p(np.bincount(domain.train.items, minlength=n_items))[:, None]
    vectors = torch.from_numpy(np.hstack([rng.normal(size=(n_items, 8)), popularity]).astype(np.float32))
    ratios = []
    for users in [batch for _ in range(3) for batch in _batches(part, settings, rng)]:
        own = domain.train.select(users)
        step = step_items(part.encoder.required_items(own), part.shares, len(users), settings.items, rng)
        for event in rng.choice(followers(own), 8):
            state = torch.from_numpy(np.append(rng.normal(size=8) / 4, 0.5).astype(np.float32))
            scores = vectors @ state
            items = own[own.users[event]]
            earlier = items[: event - own.offsets[own.users[event]]]
            others = np.setdiff1d(np.arange(n_items), [*earlier, own.items[event]])
            exact = (scores[others].logsumexp(0) - scores[own.items[event]]).exp()
            loss = softmax_loss(Prefixes(state[None], np.array([event])), own, step, vectors[step.items], 1)
            ratios.append(float(loss.exp() - 1) / float(exact))
    error = np.std(ratios) / np.sqrt(len(ratios))
    assert error < 0.01
    assert abs(np.mean(ratios) - 1) < 0.01 + 2 * error


def test_with_the_whole_catalogue_the_entropy_is_that_of_what_can_be_recommended(corpus) -> None:
    sequences, _ = corpus
    torch.manual_seed(0)
    vectors, states = torch.randn(N_ITEMS, 4), torch.randn(4, 4)
    own = Sequences.of([*sequences.select(np.arange(3)), np.arange(N_ITEMS)])
    found = softmax_entropy(states, own, whole_catalogue(N_ITEMS), vectors, 0.5)
    scores = states[:3] @ vectors.T / 0.5
    for row in range(3):
        scores[row, own[row].tolist()] = -torch.inf
    # The last user has all there is: nothing is left to be unsure of.
    wanted = torch.distributions.Categorical(logits=scores[:3]).probs
    torch.testing.assert_close(found, torch.special.entr(wanted).sum() / 4)


def test_the_entropy_has_gradients_where_a_user_has_all_there_is() -> None:
    states, vectors = torch.randn(2, 3, requires_grad=True), torch.randn(3, 3)
    softmax_entropy(states, Sequences.of([[0, 1, 2], [0]]), whole_catalogue(3), vectors, 1).backward()
    assert torch.isfinite(states.grad).all()
    assert states.grad.abs().sum(1).gt(0).tolist() == [False, True]


def test_the_entropy_over_a_sample_is_near_that_over_the_catalogue(corpus) -> None:
    """Without the correction it could not be above the log of the sample's size."""
    sequences, reading = corpus
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    vectors, state = torch.randn(N_ITEMS, 4) / 2, torch.randn(1, 4) / 2
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    size = N_ITEMS // 2
    found = []
    for _ in range(2000):
        others = rng.choice(np.delete(np.arange(N_USERS), 5), 1, replace=False)
        own = sequences.select(np.array([5, *others]))
        step = step_items(reading.required_items(own), shares, 2, size, rng)
        # The first user's only.
        one = own.select(np.array([0]))
        found.append(softmax_entropy(state, one, step, vectors[step.items], 1))
    left = np.setdiff1d(np.arange(N_ITEMS), sequences[5])
    wanted = torch.distributions.Categorical(logits=(state @ vectors.T)[:, left]).entropy()
    mean = torch.stack(found).mean()
    assert np.log(size) < float(wanted)
    torch.testing.assert_close(mean, wanted[0], rtol=0.03, atol=0)


def test_an_item_that_is_not_encoded_by_itself_is_no_column() -> None:
    """A decoder-only model reads a first item in its history only."""
    own = Sequences.of([[9, 1], [2, 3]])
    step = step_items(np.array([1, 3]), np.full(10, 0.2, dtype=np.float32), 2, 2, np.random.default_rng(0))
    prefixes = Prefixes(torch.randn(2, 3), np.array([1, 3]))
    vectors = torch.randn(2, 3)
    scores = prefixes.vectors @ vectors.T
    scores[0, 1] -= np.log(0.2)
    scores[1, 0] -= np.log(0.2)
    wanted = F.cross_entropy(scores, torch.tensor([0, 1]))
    torch.testing.assert_close(softmax_loss(prefixes, own, step, vectors, 1), wanted)
