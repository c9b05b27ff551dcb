"""What an ensemble of 1, 2, 3, … members takes: memory, time and disk. Measured, in a process of its own."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from studies.checkpoint_contents import WEIGHTS_NAME, read_checkpoint
from studies.ensemble_file import MemberPart
from studies.families import WindowShape
from studies.members import Candidate
from studies.prediction import MemberModel, as_inputs, one_thread

# Of forward passes for one time: the first one allocates.
_PASSES = 3
# What has to be free for a member, in sizes of its file: what is mapped is read, and a forward pass takes some.
_ROOM = 3


def measure_costs(candidates: Sequence[Candidate], shape: WindowShape) -> list[dict[str, Any]]:
    """Load one member after the other and predict a window with all of them.

    Returns:
        one row for each number of members, up to those that this machine has memory for: `parameters`, `bytes` on the
        disk, `resident_mb` of the whole process with its libraries, `added_mb` over those, and `seconds` of a
        prediction's forward passes on one thread.
    """
    inputs, process = _empty_window(shape), psutil.Process()
    before = process.memory_info().rss
    models: list[MemberModel] = []
    rows: list[dict[str, Any]] = []
    parameters = size = 0
    with one_thread():
        for candidate in candidates:
            contents = read_checkpoint(candidate.directory / WEIGHTS_NAME)
            if contents.file_bytes * _ROOM > psutil.virtual_memory().available:
                break
            models.append(_model(candidate, shape))
            parameters, size = parameters + contents.parameters, size + contents.file_bytes
            seconds = [_seconds(models, inputs) for _ in range(_PASSES + 1)][1:]
            resident = process.memory_info().rss
            rows.append(
                {
                    "parameters": parameters,
                    "bytes": size,
                    "resident_mb": round(resident / 2**20, 1),
                    "added_mb": round((resident - before) / 2**20, 1),
                    "seconds": round(median(seconds), 5),
                }
            )
    return rows


def _model(candidate: Candidate, shape: WindowShape) -> MemberModel:
    weights: Path = candidate.directory / WEIGHTS_NAME
    known = {name: getattr(candidate, name) for name in ("study", "trial", "seed", "model", "score")}
    params = read_checkpoint(weights).configuration["params"]
    part = MemberPart.model_validate({**known, "params": params, "shares": {}})
    return MemberModel(part, shape, weights)


def _seconds(models: Sequence[MemberModel], inputs: Any) -> float:  # noqa: ANN401  a window of tensors
    began = time.perf_counter()
    for model in models:
        model.probabilities(inputs)
    return time.perf_counter() - began


def _empty_window(shape: WindowShape) -> Any:  # noqa: ANN401
    labels = np.zeros((shape.window, shape.n_series), dtype=np.float32)
    features = np.zeros((shape.window + shape.horizon, shape.n_series, shape.n_features), dtype=np.float32)
    return as_inputs(labels, features)
