"""What stays on a card: rules of memory, and the one code for windows on any device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from panels import panel_of

from budgets.memory import CARD_CONTEXT_BYTES, MIB, RESIDENT_BYTES, Footprint, MemoryEstimate, estimate_memory
from budgets.placement import HEAD_ROOM, Card
from studies.devices import stays_on, windows_on

MODEL = Footprint(parameters=750_000, largest_parameter=150_000, kept=((MIB, 20),))


def estimate_of(data_bytes: int) -> MemoryEstimate:
    return estimate_memory(MODEL, 32, data_bytes=data_bytes)


def card_with(usable: int, used: int = 0) -> Card:
    return Card("card", round((usable + used) / HEAD_ROOM), used)


def test_prices_count_on_a_card_where_they_stay_there_and_not_where_they_are_too_many() -> None:
    none, few, many = (estimate_of(data).on_card for data in (0, 100 * MIB, RESIDENT_BYTES + 1))
    assert few == none + 100 * MIB
    assert many == none
    assert estimate_of(RESIDENT_BYTES).resident_data == RESIDENT_BYTES


@pytest.mark.parametrize(("spare", "stays"), [(1, True), (-1, False)])
def test_prices_stay_on_a_card_that_has_room_for_the_whole_trial_within_the_head_room(spare: int, stays: bool) -> None:
    estimate = estimate_of(100 * MIB)
    assert stays_on(card_with(estimate.on_card + 2 * spare), estimate) is stays


def test_what_others_use_of_a_card_is_not_free() -> None:
    estimate = estimate_of(100 * MIB)
    card = card_with(estimate.on_card + 2)
    assert stays_on(card, estimate)
    assert not stays_on(replace(card, used_bytes=CARD_CONTEXT_BYTES), estimate)


def test_prices_of_a_trial_that_was_never_counted_do_not_stay() -> None:
    assert not stays_on(card_with(10**12), None)
    assert not stays_on(card_with(10**12), estimate_of(RESIDENT_BYTES + 1))


def test_on_the_processor_the_windows_are_where_the_panel_is() -> None:
    from budgets import BatchPlan

    windows = windows_on(torch.device("cpu"), panel_of(2, 5), {}, {}, BatchPlan(8, 8))
    inputs, labels = windows.at(np.asarray([30]))
    assert {value.device.type for value in (*inputs.values(), labels)} == {"cpu"}
    assert windows.in_memory() is windows
