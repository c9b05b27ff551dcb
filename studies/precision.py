"""The precision that models are trained in: decided once a study, where it is made, and the same on every machine.

    32-true      weights and products in 32 bits
    tf32         the same, with the factors of products rounded to 10 bits of mantissa: cards from Ampere on
    bf16-mixed   weights in 32 bits, products of 16-bit copies of them: autocast

`auto` takes bf16-mixed where the hardware has bfloat16 and, on a processor, where a measurement says that it pays. It
never takes what is emulated, and never tf32: hardware that has it has bfloat16 too. See docs/adr/0022.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)

FULL: Final = "32-true"
TF32: Final = "tf32"
MIXED: Final = "bf16-mixed"

LEAST_SPEEDUP: Final = 1.2
"""How many times as fast a product has to be in bfloat16: what autocast adds around it, casts and checks, eats some."""

_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
# Rows, width and inner width of the feed-forward of a small model: 16 windows of 42 tokens, width 192.
_SHAPE = (672, 192, 768)
_PRODUCTS, _TURNS = 8, 5


def resolve_precision(precision: str) -> str:
    """Return what a precision of a specification means on this machine; `auto` chooses, the others stay.

    Takes some tens of milliseconds the first time on a processor with bfloat16, and nothing anywhere else.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        # Emulation counts as support unless one says no: a Turing card would train slower than in 32 bits.
        return MIXED if torch.cuda.is_bf16_supported(including_emulation=False) else FULL
    return best_of_processor(_capabilities(), bf16_speedup)


def best_of_processor(capabilities: Mapping[str, Any], speedup: Callable[[], float]) -> str:
    """Return the precision that `auto` is on a processor.

    Args:
        capabilities: as `torch.cpu.get_capabilities` has them.
        speedup: measures how many times as fast bfloat16 is; asked only where the processor has it.
    """
    return MIXED if processor_has_bf16(capabilities) and speedup() >= LEAST_SPEEDUP else FULL


def precision_of(params: Mapping[str, Any], precision: str) -> str:
    """Return the precision of a trial: its study's, or this machine's for a study that was made without one."""
    found = str(params.get("precision") or resolve_precision(precision))
    if found == MIXED and not has_bf16():
        # 2 cores without these instructions: 6 to 8 times as long as in 32 bits.
        _LOG.warning("this machine emulates bfloat16, the precision of this study, and takes several times as long")
    if found == FULL and precision == "auto" and torch.cuda.is_available() and has_bf16():
        _LOG.warning("this card has bfloat16, and the study was made where there is none: it trains in 32-true")
    return found


def begin(precision: str) -> str:
    """Have this process compute products in this precision; return Lightning's name for the rest of it.

    On hardware without tf32 the products are exact, as in 32-true.
    """
    # Torch's default is exact for matrix products and tf32 for convolutions, which the feed-forwards are. The names are
    # the older ones because Lightning asks by them, and torch refuses to answer where both have been used.
    torch.backends.cudnn.allow_tf32 = precision == TF32
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high" if precision == TF32 else "highest")
    return FULL if precision == TF32 else precision


def has_bf16() -> bool:
    """Return whether the device that trials train on computes in bfloat16 by itself."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return processor_has_bf16(_capabilities())


def processor_has_bf16(capabilities: Mapping[str, Any]) -> bool:
    """Return whether a processor has instructions for products of bfloat16, and not for conversions alone."""
    return any(bool(capabilities.get(name)) for name in _INSTRUCTIONS)


@cache
def bf16_speedup() -> float:
    """Return how many times as fast as in 32 bits this machine computes a layer's product as autocast would."""
    rows, width, inner = _SHAPE
    values, weights = torch.rand(rows, width), torch.rand(inner, width)
    half = weights.bfloat16()
    # In turns, so that a busy moment meets both; the least, because other work only ever adds.
    seconds = [(_seconds(values, weights), _seconds(values, half)) for _ in range(_TURNS)]
    full, mixed = (min(each) for each in zip(*seconds, strict=True))
    return float(full / mixed)


def _seconds(values: Tensor, weights: Tensor) -> float:
    began = time.perf_counter()
    for _ in range(_PRODUCTS):
        # The values are cast in every layer, the weights once a step.
        torch.nn.functional.linear(values.to(weights.dtype), weights)
    return time.perf_counter() - began


def _capabilities() -> Mapping[str, Any]:
    # Torch before 2.10 does not say what the processor can do; nothing is assumed of it then.
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found
