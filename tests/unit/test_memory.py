"""The arithmetic of memory: a trial's parts, and the constant that finished trials tell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.errors import BudgetError
from budgets.memory import (
    ALLOCATOR_SLACK,
    MIB,
    PROCESS_BYTES,
    Calibration,
    Footprint,
    Peak,
    calibrate,
    estimate_memory,
)

PLAIN = Footprint(parameters=1_000_000, largest_parameter=10_000, kept=((1000, 3), (5000, 2)), fixed_bytes=70)


def test_the_parts_are_four_bytes_a_weight_and_gradient_and_eight_a_pair_of_moments() -> None:
    found = estimate_memory(PLAIN, 10, data_bytes=11, process_bytes=13)
    assert (found.weights, found.gradients, found.optimizer) == (4_000_000, 4_000_000, 8_000_000)
    assert found.activations == 13_000 * 10 + 70
    assert found.slack == round(ALLOCATOR_SLACK * 130_000)
    assert (found.data, found.process) == (11, 13)
    assert found.total == sum(found.as_json().values())
    assert found.without_process == found.total - 13


def test_one_operation_more_is_the_largest_tensor_or_the_update_of_the_largest_parameter() -> None:
    # And two random bytes for each of its values of four, 16 windows at a time.
    assert estimate_memory(PLAIN, 100).temporaries == 5000 * (100 + 16 // 2)
    # Three copies of 40,000 bytes, when the 13,070 bytes of activations are gone.
    assert estimate_memory(PLAIN, 1).temporaries == 3 * 40_000 - 13_070


def test_a_step_in_parts_draws_the_masks_of_16_windows_at_the_most() -> None:
    wide = Footprint(1, 1, ((5000, 2),))
    assert estimate_memory(wide, 4).temporaries == 5000 * (4 + 4 // 2)
    assert estimate_memory(wide, 4, accumulation=2).temporaries == 5000 * (4 + 8 // 2)
    assert estimate_memory(wide, 4, accumulation=100).temporaries == 5000 * (4 + 16 // 2)


def test_blocks_that_glibc_maps_leave_no_holes() -> None:
    large = Footprint(1, 1, ((MIB, 4), (1000, 1)))
    assert large.slack(31) == round(ALLOCATOR_SLACK * 31 * (4 * MIB + 1000))
    assert large.slack(32) == round(ALLOCATOR_SLACK * 32 * 1000)


def test_tensors_that_are_computed_again_are_not_kept_but_leave_holes() -> None:
    lighter = Footprint(1, 1, ((1000, 1),), recomputed=((1000, 5),))
    assert lighter.activations(10) == 10_000
    assert lighter.slack(10) == round(ALLOCATOR_SLACK * (10_000 + 50_000 / 2))
    assert Footprint.from_json(json.loads(json.dumps(lighter.as_json()))) == lighter


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_more_windows_never_keep_less(few: int, more: int) -> None:
    low, high = sorted((few, more))
    assert PLAIN.activations(low) <= PLAIN.activations(high)
    assert PLAIN.activations(high) - PLAIN.activations(low) == PLAIN.bytes_a_window * (high - low)


def test_a_micro_batch_below_one_is_refused() -> None:
    with pytest.raises(BudgetError, match="1 window or more, not 0 in 1 parts"):
        estimate_memory(PLAIN, 0)


def test_a_footprint_survives_being_stored() -> None:
    assert Footprint.from_json(json.loads(json.dumps(PLAIN.as_json()))) == PLAIN


def test_without_finished_trials_the_constant_is_the_default_and_says_so() -> None:
    assert calibrate([]) == Calibration(PROCESS_BYTES, trials=0)


def test_the_constant_is_the_median_of_what_the_estimates_leave_over() -> None:
    peaks = [Peak(100 * MIB, start=400 * MIB, peak=(500 + over) * MIB) for over in (40, 900, 60)]
    assert calibrate(peaks) == Calibration(60 * MIB, trials=3)


def test_an_estimate_above_the_peak_makes_the_constant_nothing_and_not_less() -> None:
    assert calibrate([Peak(100 * MIB, 400 * MIB, 450 * MIB)]) == Calibration(0, trials=1)
