"""Backoff grows to its cap and starts over."""

from wherry.aio.backoff import Backoff
from wherry.aio.entropy import Entropy


def test_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(Entropy(1), initial_seconds=1, cap_seconds=5, jitter=0)
    assert [backoff.next_seconds() for _ in range(4)] == [1, 2, 4, 5]


def test_reset_starts_over() -> None:
    backoff = Backoff(Entropy(1), initial_seconds=1, jitter=0)
    backoff.next_seconds()
    backoff.next_seconds()
    backoff.reset()
    assert (backoff.next_seconds(), backoff.attempts) == (1, 1)


def test_jitter_lengthens_by_at_most_its_share() -> None:
    backoff = Backoff(Entropy(7), initial_seconds=10, cap_seconds=10, jitter=0.5)
    waits = [backoff.next_seconds() for _ in range(50)]
    assert all(10 <= wait <= 15 for wait in waits)
    assert len(set(waits)) > 1


def test_a_thousand_tries_do_not_overflow() -> None:
    backoff = Backoff(Entropy(1), jitter=0)
    assert [backoff.next_seconds() for _ in range(2000)][-1] == 60
