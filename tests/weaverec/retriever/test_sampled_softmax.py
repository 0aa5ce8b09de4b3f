"""The softmax over a catalogue from the items of a step, against the softmax itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.data.domain import Ints, Sequences
from weaverec.retriever.encoding import Prefixes
from weaverec.retriever.sampled_softmax import softmax_entropy, softmax_loss, step_items, user_shares

N_ITEMS, N_USERS = 40, 300


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    popular = rng.dirichlet(np.full(N_ITEMS, 0.5))
    chances = 0.9 * popular + 0.1 / N_ITEMS
    return Sequences.of(rng.choice(N_ITEMS, 4, replace=False, p=chances) for _ in range(N_USERS)), Catalogue()


class Catalogue:
    """As much of a reading as shares are counted by."""

    def __len__(self) -> int:
        return N_ITEMS

    def required_items(self, own: Sequences) -> Ints:
        found: Ints = np.unique(own.items)
        return found


def prefixes_of(own: Sequences, states: torch.Tensor) -> Prefixes:
    """The prefixes of one item each: the second item follows the first."""
    return Prefixes(states, own.items[own.offsets[:-1] + 1], np.arange(len(own)))


def test_shares_are_those_of_users_with_the_item(corpus) -> None:
    sequences, reading = corpus
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    for item in (0, 7, 39):
        assert shares[item] == pytest.approx(np.mean([item in items for items in sequences]))


def test_with_the_whole_catalogue_it_is_cross_entropy(corpus) -> None:
    sequences, reading = corpus
    own = sequences.select(np.arange(10))
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    vectors, states = torch.randn(N_ITEMS, 6), torch.randn(10, 6)
    step = step_items(reading.required_items(own), shares, 10, N_ITEMS, np.random.default_rng(0))
    assert step.items.tolist() == list(range(N_ITEMS))
    prefixes = prefixes_of(own, states)
    found = softmax_loss(prefixes, own, step, vectors, 0.5)
    wanted = F.cross_entropy(states @ vectors.T / 0.5, torch.from_numpy(prefixes.targets))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("n_users", "size"), [(3, 0), (3, 20), (1, 12), (8, 30)])
def test_the_sum_over_a_sample_estimates_the_sum_over_the_catalogue(corpus, n_users: int, size: int) -> None:
    """exp(loss) = sum / exp(target's score): its mean over steps with the same user is the softmax's own."""
    sequences, reading = corpus
    rng = np.random.default_rng(1)
    torch.manual_seed(1)
    vectors, state = torch.randn(N_ITEMS, 4) / 2, torch.randn(1, 4) / 2
    shares = user_shares(reading, sequences, np.arange(N_USERS))
    found, user = [], 5
    for _ in range(6000):
        others = rng.choice(np.delete(np.arange(N_USERS), user), n_users - 1, replace=False)
        own = sequences.select(np.array([user, *others]))
        step = step_items(reading.required_items(own), shares, n_users, size, rng)
        first = own.select(np.array([0]))
        prefixes = prefixes_of(first, state)
        found.append(softmax_loss(prefixes, own, step, vectors[step.items], 1).exp())
    wanted = F.cross_entropy(state @ vectors.T, torch.from_numpy(prefixes.targets)).exp()
    mean = torch.stack(found).mean()
    if size == 0:
        # What no other user has is never seen.
        unseen = np.setdiff1d(np.flatnonzero(shares == 0), sequences[user])
        wanted = wanted * (1 - float((state @ vectors.T).softmax(1)[0, unseen].sum()))
    torch.testing.assert_close(mean, wanted, rtol=0.03, atol=0)


def test_with_the_whole_catalogue_the_entropy_is_its_definition(corpus) -> None:
    sequences, reading = corpus
    torch.manual_seed(0)
    vectors, states = torch.randn(N_ITEMS, 4), torch.randn(3, 4)
    own = sequences.select(np.arange(3))
    step = step_items(reading.required_items(own), np.zeros(N_ITEMS, np.float32), 3, N_ITEMS, np.random.default_rng(0))
    found = softmax_entropy(states, own, step, vectors, 0.5)
    wanted = torch.distributions.Categorical(logits=states @ vectors.T / 0.5).entropy().mean()
    torch.testing.assert_close(found, wanted)


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
        states = torch.cat([state, state])
        # The first user's only.
        one = own.select(np.array([0]))
        found.append(softmax_entropy(states[:1], one, step, vectors[step.items], 1))
    wanted = torch.distributions.Categorical(logits=state @ vectors.T).entropy()
    mean = torch.stack(found).mean()
    assert np.log(size) < float(wanted)
    torch.testing.assert_close(mean, wanted[0], rtol=0.03, atol=0)


def test_an_item_that_is_not_encoded_by_itself_is_no_column() -> None:
    """A decoder-only model reads a first item in its history only."""
    own = Sequences.of([[9, 1], [2, 3]])
    step = step_items(np.array([1, 3]), np.full(10, 0.2, dtype=np.float32), 2, 2, np.random.default_rng(0))
    prefixes = Prefixes(torch.randn(2, 3), np.array([1, 3]), np.array([0, 1]))
    vectors = torch.randn(2, 3)
    scores = prefixes.vectors @ vectors.T
    scores[0, 1] -= np.log(0.2)
    scores[1, 0] -= np.log(0.2)
    wanted = F.cross_entropy(scores, torch.tensor([0, 1]))
    torch.testing.assert_close(softmax_loss(prefixes, own, step, vectors, 1), wanted)
