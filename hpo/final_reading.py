"""What `hpo report --final` does in forks: whoever reads prices or loads torch is a process of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo.fork_server import Channel
from hpo.report.final_result import FinalResult, result_of
from hpo.report.finalists import FinalPlan
from studies.spec import Spec
from studies.trained import TrainedModel

# Weights that were read back score as they did but for the order of sums on a GPU.
_SAME_AREA = 1e-3


def check(_channel: Channel, spec: Spec, sizes: Mapping[str, Any], home: Path) -> None:
    """Raise DataError where this machine has not the study's prices, or their test part can tell nothing."""
    from studies.final import check_test_part

    check_test_part(spec, sizes, home)


def fault(_channel: Channel, model: TrainedModel, score: float, sizes: Mapping[str, Any], home: Path) -> str:
    """Return what is wrong with stored weights, if anything: they have to give the validation score again."""
    from studies.errors import CheckpointError
    from studies.final import validation_area

    try:
        found = validation_area(model, sizes, home)
    except CheckpointError as error:
        return str(error)
    return "" if abs(found - score) < _SAME_AREA else f"its weights score {found:.4f} on validation, and it {score:.4f}"


def read(
    _channel: Channel,
    plan: FinalPlan,
    models: Sequence[TrainedModel],
    sizes: Mapping[str, Any],
    home: Path,
    threads: int,
) -> FinalResult:
    """Read the test part with these models, in the order of `plan.read`."""
    from studies.final import read_test_part

    return result_of(plan, read_test_part(models, sizes, home, threads))
