"""What an objective may store with its trial."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.objective import DivergedError, TrialContext
from studies.reading import read_spec


def context(**values: Any) -> TrialContext:
    home = Path("nowhere")
    return TrialContext(read_spec("quickstart"), 0, attempt=1, seed=1, directory=home, home=home, **values)


def test_a_derived_value_may_be_recorded_again_but_not_changed() -> None:
    trial = context(derived={"effective_batch": 16, "n_heads": 4})
    trial.record(effective_batch=np.int64(16), threads=2)
    assert trial.attributes == {"effective_batch": 16, "threads": 2}
    with pytest.raises(ValueError, match="effective_batch is 16 by the study's specification, not 8: "):
        trial.record(effective_batch=8)


def test_a_name_of_the_services_own_is_refused_whatever_its_value() -> None:
    with pytest.raises(ValueError, match="'seed' is a name of the service's own"):
        context(reserved=frozenset({"seed"}), derived={"seed": 1}).record(seed=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_reported_score_that_is_no_number_ends_the_trial_as_diverged_and_is_passed_on_to_nobody(value: float) -> None:
    sent: list[tuple[float, int]] = []
    trial = context(send=lambda *look: sent.append(look) is not None)
    trial.report(0.5, 1)
    with pytest.raises(DivergedError, match=f"the score became {float(value)} at step 2"):
        trial.report(value, 2)
    assert sent == [(0.5, 1)]


def test_a_trial_is_told_that_nothing_needs_to_be_saved_where_it_ends_for_good() -> None:
    assert not context().ends_for_good()
    assert context(hopeless=lambda: True).ends_for_good()
