"""Reservations of memory between real processes."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.memory_room import MemoryRoom, Reservation, Share, Usable

ALL, LARGE, SMALL = Usable(18), Share(10), Share(2)


def hold(home: Path, ready: multiprocessing.Event, share: Share) -> None:  # type: ignore[valid-type]
    reservation = MemoryRoom(home).reserve(share, lambda: ALL)
    assert reservation is not None
    ready.set()  # type: ignore[attr-defined]
    signal.pause()


@pytest.fixture
def holds(tmp_path: Path) -> Iterator[Callable[..., bool]]:
    """Reserve one after the other."""
    held: list[Reservation] = []

    def ask(share: Share, limit: Usable = ALL) -> bool:
        reservation = MemoryRoom(tmp_path).reserve(share, lambda: limit)
        held.extend([reservation] if reservation else [])
        return reservation is not None

    yield ask
    for reservation in held:
        reservation.release()


def test_one_large_trial_and_four_small_ones_share_a_machine(holds: Callable[..., bool]) -> None:
    assert holds(LARGE)
    assert [holds(SMALL) for _ in range(5)] == [True] * 4 + [False]
    assert not holds(LARGE)


def test_what_is_released_is_there_for_others(tmp_path: Path) -> None:
    room = MemoryRoom(tmp_path)
    for _ in range(2):
        large = room.reserve(LARGE, lambda: ALL)
        assert large is not None
        assert room.reserve(LARGE, lambda: ALL) is None
        large.release()


def test_a_trial_alone_always_has_room(holds: Callable[..., bool]) -> None:
    assert holds(Share(10**12))
    assert not holds(Share(1))


def test_a_card_is_shared_as_well(holds: Callable[..., bool]) -> None:
    assert holds(Share(1, card=6), Usable(100, {"A": 8}))
    assert not holds(Share(1, card=6), Usable(100, {"A": 8}))


def test_trials_spread_over_the_cards_and_each_of_them_is_filled(tmp_path: Path) -> None:
    room, cards = MemoryRoom(tmp_path), Usable(1000, {"A": 10, "B": 6})
    held = [room.reserve(Share(1, card=3), lambda: cards) for _ in range(5)]
    assert [each.card for each in held if each is not None] == ["A", "A", "B", "A", "B"]
    assert room.reserve(Share(1, card=3), lambda: cards) is None
    assert held[2] is not None
    held[2].release()
    again = room.reserve(Share(1, card=3), lambda: cards)
    assert again is not None
    assert again.card == "B"
    for each in [*held[:2], *held[3:], again]:
        assert each is not None
        each.release()


def test_a_trial_that_is_too_large_for_a_card_has_room_on_it_alone(holds: Callable[..., bool]) -> None:
    assert holds(Share(1, card=60), Usable(100, {"A": 8}))


def test_what_is_quick_to_be_had_is_enough_where_it_suffices(tmp_path: Path) -> None:
    room = MemoryRoom(tmp_path)

    def never() -> Usable:
        raise AssertionError("it was asked")

    held = [room.reserve(SMALL, lambda: ALL, lambda: Usable(4)) for _ in range(2)]
    held.append(room.reserve(SMALL, never, lambda: Usable(6)))
    assert room.reserve(LARGE, lambda: Usable(15), lambda: Usable(6)) is None
    assert all(held)


def test_without_a_card_none_is_given(tmp_path: Path) -> None:
    for share, usable in ((LARGE, ALL), (Share(1, card=5), Usable(100))):
        reservation = MemoryRoom(tmp_path).reserve(share, lambda usable=usable: usable)  # type: ignore[misc]
        assert reservation is not None
        assert reservation.card is None
        reservation.release()


def test_the_memory_of_all_trials_is_shared_whatever_their_cards(holds: Callable[..., bool]) -> None:
    usable = Usable(10, {"A": 100, "B": 100})
    assert [holds(Share(4, card=1), usable) for _ in range(3)] == [True, True, False]


def test_a_worker_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, LARGE), daemon=True)
    other.start()
    assert ready.wait(10)
    room = MemoryRoom(tmp_path)
    assert room.reserve(LARGE, lambda: ALL) is None
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join(10)
    again = room.reserve(LARGE, lambda: ALL)
    assert again is not None
    again.release()
    assert [path.name for path in (tmp_path / "memory").iterdir()] == ["lock"]
