"""What an objective may store with its trial."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.objective import TrialContext
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
