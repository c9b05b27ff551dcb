"""The micro-batch that a study is planned with, where its specification names none."""

from typing import Any

import pytest

from budgets import STYLES
from budgets.memory import Footprint
from studies.declaration import Prepared, architecture_values, derive
from studies.memory import MOST_WINDOWS_ON_A_CPU, Allowance, fit_micro_batches
from studies.spec import Spec

# 1 M parameters are 16 MB, a window is 10 MB.
FOOTPRINT = Footprint(1_000_000, 100_000, ((1_000_000, 10),))
PLENTY = 10**6


def planned(allowance: Allowance, **training: Any) -> int:
    """Return the micro-batch of a deep 750k trial."""
    spec = Spec.model_validate({"name": "s", "budgets": ["750k"], "training": training})
    footprints = {f"750k_{style}": FOOTPRINT.as_json() for style in STYLES}
    prepared = Prepared(architecture_values(spec), sizes={"footprints": footprints})
    values = derive({"budget": "750k", "style": "deep"}, fit_micro_batches(spec, prepared, allowance).derived)
    assert values["effective_batch"] == spec.training.effective_batch
    return int(values["micro_batch"])


@pytest.mark.parametrize(("effective", "expected"), [(8, 8), (16, 16), (32, 16), (48, 16), (512, 16), (40, 40)])
def test_on_a_processor_no_more_windows_at_once_than_are_of_use(effective: int, expected: int) -> None:
    here = Allowance(PLENTY, "a limit", most_windows=MOST_WINDOWS_ON_A_CPU)
    assert planned(here, effective_batch=effective) == expected


def test_on_a_card_all_that_fit() -> None:
    assert planned(Allowance(PLENTY, "a card", on_card=True), effective_batch=512) == 512


def test_fewer_where_memory_is_short() -> None:
    # 60 MiB are the process's, 15 the weights', 15 each window's with what the heap loses.
    short = Allowance(160, "a limit", most_windows=MOST_WINDOWS_ON_A_CPU)
    assert planned(short, effective_batch=512) == 4


def test_what_the_specification_names_stays() -> None:
    here = Allowance(50, "a limit", most_windows=MOST_WINDOWS_ON_A_CPU)
    assert planned(here, effective_batch=512, micro_batch=64) == 64
