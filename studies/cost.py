"""How fast this machine multiplies matrices: the measure for what a search would cost here."""

import time

import torch

_SIZE = 1024
_REPEATS = 8


def measure_speed(_channel: object) -> float:
    """Return floating-point operations a second of a plain 32-bit matrix product on all cores, or on the GPU.

    Training reaches a part of it, so times computed with it are lower bounds. Takes about half a second.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matrix = torch.rand(_SIZE, _SIZE, device=device)
    matrix @ matrix
    best = min(_seconds(matrix) for _ in range(_REPEATS))
    return 2 * _SIZE**3 / best


def precision_here(_channel: object, precision: str) -> str:
    """Return the precision that trials are trained with on this machine."""
    from studies.precision import resolve_precision

    return resolve_precision(precision)


def _seconds(matrix: torch.Tensor) -> float:
    started = time.perf_counter()
    float((matrix @ matrix)[0, 0])
    return time.perf_counter() - started
