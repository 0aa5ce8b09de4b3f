import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.draws import draw_test_users, draw_users, limit_users
from harness.protocol.split import LeaveOneOut
from tests.harness.protocol.test_overlap import domain

names = st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=30)


@given(names, st.integers(1, 40), st.integers(0, 9), st.randoms())
def test_a_draw_depends_on_neither_order_nor_the_other_size(users: list[str], n: int, seed: int, random) -> None:
    drawn = {users[index] for index in draw_users(users, n, seed)}
    assert len(drawn) == min(n, len(users))
    assert drawn <= {users[index] for index in draw_users(users, n + 1, seed)}
    shuffled = random.sample(users, len(users))
    assert drawn == {shuffled[index] for index in draw_users(shuffled, n, seed)}


def test_every_user_is_drawn_equally_often() -> None:
    users = [f"user {number}" for number in range(40)]
    times = np.zeros(40)
    for seed in range(2000):
        times[draw_users(users, 10, seed)] += 1
    # 2,000 draws with p = 1/4: a standard deviation of 19.4
    assert np.abs(times - 500).max() < 80


def test_drawn_test_users_keep_their_events() -> None:
    whole = domain("a", list("abcdefghij"))
    test = LeaveOneOut().test(whole)
    drawn = draw_test_users(test, whole.user_ids, 4, seed=3)
    assert len(drawn.targets) == 4
    for row, user in enumerate(drawn.histories.users.tolist()):
        assert drawn.targets[row] == test.targets[user]
        assert drawn.times[row] == test.times[user]
        assert drawn.histories.sequences[row].tolist() == test.histories.sequences[user].tolist()
    assert draw_test_users(test, whole.user_ids, 10, seed=3).targets.tolist() == test.targets.tolist()


def test_a_limited_domain_has_the_drawn_users_and_all_items() -> None:
    whole = domain("a", list("abcdefghij"))
    part = limit_users(whole, 3, seed=1)
    assert part.catalogue == whole.catalogue
    assert set(part.user_ids) == {whole.user_ids[index] for index in draw_users(whole.user_ids, 3, 1)}
    for user, items in zip(part.user_ids, part.interactions, strict=True):
        assert items.tolist() == [ord(user) - 97] * 3
    assert part.fingerprint != whole.fingerprint
    assert limit_users(whole, 10, seed=1) is whole
