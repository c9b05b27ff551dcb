"""How many workers fit a machine, which limit binds, and which budgets share it."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.memory import CARD_HOST_BYTES, MIB
from budgets.placement import (
    SERVER_BYTES,
    WORKER_BYTES,
    Card,
    Demand,
    Machine,
    place_workers,
    trials_an_hour,
    usable_card,
    usable_ram,
    workers_that_fit,
)
from hpo.cards import CardReading, RecordedCards
from hpo.machine import machine_cards, read_machine

GB = 10**9
READINGS = Path(__file__).parents[1] / "readings" / "nine_workers_on_one_card.json"
LARGE = Demand("200M", trials=1, ram_bytes=4 * GB, core_seconds=8000)
SMALL = Demand("2M", trials=4, ram_bytes=GB // 2, core_seconds=80)


@pytest.mark.parametrize("head_room", [0.75, 0.8])
def test_nine_workers_of_850_mb_on_a_card_of_8_2_gb_become_seven(head_room: float) -> None:
    """A recorded case: tuned by hand they filled the card to 93 %."""
    cards = RecordedCards.load(READINGS)
    (busy,), (empty,) = cards.read(), cards.read()
    assert round(busy.used_mb / busy.total_mb, 2) == 0.93
    a_trial = Demand("2M", 20, CARD_HOST_BYTES, card_bytes=max(busy.by_process.values()) * MIB)
    machine = Machine(cores=16, total_bytes=32 * GB, available_bytes=30 * GB, cards=machine_cards([empty]))
    limits = workers_that_fit(machine, a_trial, head_room)
    assert (limits[0].resource, limits[0].workers) == ("GPU memory", 7)
    assert 7 * limits[0].a_worker / machine.cards[0].total_bytes <= head_room
    assert len(place_workers(machine, [a_trial], head_room=head_room).places) == 7


def test_what_this_service_holds_of_a_card_counts_as_free_and_what_others_hold_does_not() -> None:
    (busy,) = RecordedCards.load(READINGS).read()
    (ours,) = machine_cards([busy], own=list(busy.by_process))
    (others,) = machine_cards([busy], own=list(busy.by_process)[:8])
    assert ours.used_bytes == 0
    assert others.used_bytes == 850 * MIB
    assert usable_card(ours) - usable_card(others) == 850 * MIB


def test_a_recording_repeats_its_last_moment() -> None:
    cards = RecordedCards([[CardReading("A", 1, 2)], []])
    assert [len(cards.read()) for _ in range(4)] == [1, 0, 0, 0]


def test_a_card_keeps_the_identifier_that_cuda_knows_it_by() -> None:
    card = CardReading("A", 1, 2, uuid="GPU-5f1b")
    assert CardReading.from_json(card.as_json()) == card
    assert CardReading.from_json({"name": "A", "used_mb": 1, "total_mb": 2}).uuid == ""


def test_without_a_card_nothing_computes_on_one_at_once() -> None:
    assert not read_machine(RecordedCards([[]])).mps


def test_the_limit_that_binds_comes_first_with_its_numbers() -> None:
    machine = Machine(cores=64, total_bytes=16 * GB, available_bytes=10 * GB)
    ram, cores = workers_that_fit(machine, LARGE)
    assert (ram.resource, ram.workers) == ("RAM", 1)
    assert ram.available == int(0.8 * 10 * GB) - SERVER_BYTES
    assert ram.a_worker == 4 * GB + WORKER_BYTES
    assert (cores.resource, cores.workers) == ("cores", 64)
    assert workers_that_fit(Machine(2, 512 * GB, 512 * GB), LARGE)[0].resource == "cores"


def test_one_trial_of_200m_and_four_of_2m_share_a_machine() -> None:
    """Nine gigabytes would take one worker if each might get 200M."""
    machine = Machine(cores=5, total_bytes=12 * GB, available_bytes=10 * GB)
    assert workers_that_fit(machine, LARGE)[0].workers == 1
    placed = place_workers(machine, [LARGE, SMALL]).places
    assert [place.sizes for place in placed] == [("200M", "2M"), *[("2M",)] * 4]
    assert sum(place.ram_bytes + WORKER_BYTES for place in placed) <= usable_ram(machine)


def test_a_size_that_fits_not_even_alone_is_named_and_the_others_take_the_machine() -> None:
    placed = place_workers(Machine(4, 4 * GB, 4 * GB), [LARGE, SMALL])
    assert placed.left_out == ("200M",)
    assert len(placed.places) == 4


def test_trials_go_to_the_fullest_card_that_still_takes_them() -> None:
    cards = (Card("A", 10 * GB), Card("B", 10 * GB))
    machine = Machine(8, 64 * GB, 64 * GB, cards)
    large = Demand("200M", 2, GB, card_bytes=7 * GB)
    small = Demand("2M", 2, GB, card_bytes=GB // 2)
    placed = place_workers(machine, [small, large])
    assert sorted(place.card for place in placed.places if place.sizes[0] == "200M") == [0, 1]  # type: ignore[type-var]
    assert {place.card for place in placed.places if place.sizes[0] == "2M"} == {0}


@given(
    st.integers(1, 64),
    st.integers(1, 64 * GB),
    st.lists(st.tuples(st.integers(1, 20 * GB), st.integers(0, 9 * GB), st.integers(0, 40)), min_size=1, max_size=5),
    st.lists(st.integers(1, 24 * GB), max_size=3),
)
def test_places_never_take_more_than_there_is(
    cores: int, ram: int, sizes: list[tuple[int, int, int]], cards: list[int]
) -> None:
    machine = Machine(cores, ram, ram, tuple(Card("card", total) for total in cards))
    demands = [Demand(f"{i}", trials, own, held) for i, (own, held, trials) in enumerate(sizes)]
    placed = place_workers(machine, demands)
    assert len(placed.places) <= cores
    taken = sum(place.ram_bytes + WORKER_BYTES for place in placed.places)
    assert not placed.places or taken <= usable_ram(machine)
    for number, card in enumerate(machine.cards):
        held = sum(place.card_bytes for place in placed.places if place.card == number)
        assert held <= usable_card(card)


def test_two_workers_fewer_cost_their_share_when_each_has_one_core() -> None:
    assert trials_an_hour(8, 8, [SMALL]) == pytest.approx(8 * 3600 / 80)
    assert trials_an_hour(8, 6, [SMALL]) == pytest.approx(6 * 3600 / 80)
    # The cores are all in use by four as well.
    assert trials_an_hour(8, 4, [SMALL]) == trials_an_hour(8, 8, [SMALL])


def test_the_pace_is_that_of_the_mix_and_unknown_while_a_duration_is() -> None:
    mixed = trials_an_hour(2, 2, [LARGE, SMALL])
    assert mixed == pytest.approx(2 * 3600 * 5 / (8000 + 4 * 80))
    assert trials_an_hour(2, 2, [LARGE, Demand("20M", 1, GB)]) is None
    assert trials_an_hour(2, 0, [LARGE]) == 0


def test_more_workers_than_cores_share_them() -> None:
    rates = [trials_an_hour(4, workers, [SMALL]) for workers in (4, 5, 8)]
    assert all(later == earlier for earlier, later in pairwise(rates))
