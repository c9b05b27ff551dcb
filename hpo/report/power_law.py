"""L(N) = E + A·N^−α: fitted to losses at sizes, and carried on to other sizes with what is not known about it.

α is profiled on a grid; for each α the rest is linear, and E, A ≥ 0 has its exact non-negative solution in two
variables, so thousands of resampled fits are a few matrix products.

The floor E is the limit of what sizes can bring, and small runs hardly tell it: laws with very different E fit them
equally well and part only beyond. So a prediction is never the best fit alone. It is a bracket over E, from E = 0 (the
steepest hope) to the largest E that the losses allow, beside the bootstrap.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hpo.report.equal_n import INTERVAL, FloatArray, interval_of

EXPONENTS: Final = np.geomspace(0.005, 3.0, 200)
"""The grid of α, in steps of 3.3 %. A law with 0.005 is a straight line in log N; one with 3 has ended at once."""

FLOORS: Final = 60
"""Values of E that are tried between zero and the best loss."""

ALLOWED_MISFIT: Final = 3.84
"""χ² of one degree of freedom at 95 %: how much worse than the best fit an E may do and be allowed."""

LEAST_ERROR: Final = 1e-9
"""The least relative error of a loss: equal losses have a spread of zero, and may not have infinite weight."""


@dataclass(frozen=True)
class PowerLaw:
    """One law: `floor` E, `amplitude` A in units of the loss at size 1, `exponent` α."""

    floor: float
    amplitude: float
    exponent: float

    def losses(self, sizes: FloatArray) -> FloatArray:
        """Return the losses that it expects at the sizes."""
        return np.asarray(self.floor + self.amplitude * sizes**-self.exponent, dtype=np.float64)

    def as_json(self) -> dict[str, float]:
        """Return it as plain numbers."""
        return {"E": self.floor, "A": self.amplitude, "alpha": self.exponent}


@dataclass(frozen=True)
class Band:
    """What is expected at sizes, one value for each; all of them are losses.

    Attributes:
        central: the middle of what the losses allow. Nothing favours one of its ends, and the best fit, which is
            one of its members, is the least stable of them.
        bracket_low, bracket_high: over all E from zero to the largest that the losses allow; zero is part of it even
            where they disallow it, since that only holds if the form of the law does.
        bootstrap_low, bootstrap_high: 95 % of the refitted free laws. It is narrow, as every refit is as blind to E.
        low, high: the interval to report. It holds the bracket, the bootstrap of the free law and that of E = 0.
    """

    sizes: FloatArray
    central: FloatArray
    low: FloatArray
    high: FloatArray
    bracket_low: FloatArray
    bracket_high: FloatArray
    bootstrap_low: FloatArray
    bootstrap_high: FloatArray


@dataclass(frozen=True)
class ScalingLaw:
    """A law with everything that the losses leave open.

    Attributes:
        best: the best fit, E free.
        floorless: the best fit with E = 0, the other end of what is reported.
        allowed: the best law for each E that the losses allow, by rising E, the best fit always among them.
        refits, floorless_refits: of resampled losses, with E free and with E = 0.
        misfit: root of the weighted mean squared residual of the best fit, in units of the errors.
    """

    best: PowerLaw
    floorless: PowerLaw
    allowed: tuple[PowerLaw, ...]
    refits: tuple[PowerLaw, ...]
    floorless_refits: tuple[PowerLaw, ...]
    misfit: float

    @property
    def largest_floor(self) -> float:
        """The largest E that the losses allow."""
        return max(law.floor for law in self.allowed)

    @property
    def exponent_bootstrap(self) -> tuple[float, float]:
        """α of the free refits: 95 %."""
        return _exponents(self.refits)

    @property
    def exponent_interval(self) -> tuple[float, float]:
        """α, whatever E is: the union of the bracket and the bootstraps at both of its ends."""
        bracket = [law.exponent for law in (self.floorless, *self.allowed)]
        ends = [*self.exponent_bootstrap, *_exponents(self.floorless_refits), *bracket]
        return min(ends), max(ends)

    def at(self, sizes: FloatArray) -> Band:
        """Return what is expected at the sizes, with its intervals."""
        allowed = np.array([law.losses(sizes) for law in self.allowed])
        bracket = np.vstack([allowed, self.floorless.losses(sizes)])
        free = np.quantile(np.array([law.losses(sizes) for law in self.refits]), INTERVAL, axis=0)
        zero = np.quantile(np.array([law.losses(sizes) for law in self.floorless_refits]), INTERVAL, axis=0)
        low, high = bracket.min(axis=0), bracket.max(axis=0)
        return Band(
            sizes=sizes,
            central=(allowed.min(axis=0) + allowed.max(axis=0)) / 2,
            low=np.minimum.reduce([low, free[0], zero[0]]),
            high=np.maximum.reduce([high, free[1], zero[1]]),
            bracket_low=low,
            bracket_high=high,
            bootstrap_low=free[0],
            bootstrap_high=free[1],
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as plain numbers, without the refits."""
        return {
            "best": self.best.as_json(),
            "E_zero": self.floorless.as_json(),
            "smallest_E_allowed": self.allowed[0].floor,
            "largest_E_allowed": self.largest_floor,
            "alpha_interval": list(self.exponent_interval),
            "alpha_bootstrap": list(self.exponent_bootstrap),
            "misfit": self.misfit,
        }


def _exponents(laws: tuple[PowerLaw, ...]) -> tuple[float, float]:
    return interval_of(np.array([law.exponent for law in laws]))


def fit_resampled(sizes: FloatArray, losses: FloatArray, errors: FloatArray, resampled: FloatArray) -> ScalingLaw:
    """Fit losses whose errors are known, such as the expected best at each size.

    Args:
        sizes: k distinct ones, above zero; k is 2 or more. Two sizes leave E open altogether.
        losses: k, 0 or more.
        errors: k standard errors; the fit is weighted by their inverse squares.
        resampled: shape (repeats, k), losses as luck could have had them.
    """
    least = max(LEAST_ERROR * float(np.abs(losses).max()), np.finfo(float).tiny ** 0.25)
    weights = np.maximum(errors, least) ** -2
    fits = _Fits(sizes, losses[None, :], weights[None, :])
    refits = _Fits(sizes, np.maximum(resampled, 0.0), weights[None, :])
    return _assemble(fits, refits, known=True)


def fit_points(sizes: FloatArray, losses: FloatArray, *, seed: int = 0, repeats: int = 500) -> ScalingLaw:
    """Fit single runs, one loss each, whose spread around the law is equal and unknown; runs are resampled.

    Args:
        sizes: n, above zero, of at least three distinct values.
        losses: n, 0 or more.
    """
    generator = np.random.default_rng(seed)
    chosen = generator.multinomial(losses.size, np.full(losses.size, 1 / losses.size), size=repeats).astype(np.float64)
    fits = _Fits(sizes, losses[None, :], np.ones((1, losses.size)))
    return _assemble(fits, _Fits(sizes, losses[None, :], chosen), known=False)


class _Fits:
    """Weighted fits of many rows of losses at the same sizes, over the whole grid of α.

    Losses are centred, which keeps residuals exact where a law moves them by a thousandth; sizes are divided by their
    geometric mean, so that powers are near one.
    """

    def __init__(self, sizes: FloatArray, losses: FloatArray, weights: FloatArray) -> None:
        self.count = sizes.size
        self.scale = float(np.exp(np.log(sizes).mean()))
        self.centre = float(losses.mean())
        self.best_loss = float(losses.min())
        centred = losses - self.centre
        powers = np.exp(-np.outer(EXPONENTS, np.log(sizes / self.scale)))
        self.total = weights.sum(axis=-1, keepdims=True)
        self.x = weights @ powers.T
        self.xx = weights @ (powers**2).T
        self.y = (weights * centred).sum(axis=-1, keepdims=True)
        self.xy = (weights * centred) @ powers.T
        self.yy = (weights * centred**2).sum(axis=-1, keepdims=True)

    def free(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return E, A and the squared residuals, each rows × α, for E, A ≥ 0."""
        determinant = np.maximum(self.total * self.xx - self.x**2, np.finfo(float).tiny)
        amplitude = (self.total * self.xy - self.x * self.y) / determinant
        # Both at zero is never better: losses are 0 or more. So at most one of the two is at its bound.
        amplitude = np.maximum(amplitude, 0.0)
        floor = (self.y - amplitude * self.x) / self.total
        bound = floor + self.centre < 0
        floor = np.where(bound, -self.centre, floor)
        amplitude = np.where(bound, self._amplitude(floor), amplitude)
        return floor + self.centre, amplitude, self._residuals(floor, amplitude)

    def fixed(self, floor: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the same for one E."""
        centred = np.full_like(self.xy, floor - self.centre)
        amplitude = self._amplitude(centred)
        return centred + self.centre, amplitude, self._residuals(centred, amplitude)

    def _amplitude(self, floor: FloatArray) -> FloatArray:
        return np.asarray(np.maximum((self.xy - floor * self.x) / self.xx, 0.0), dtype=np.float64)

    def _residuals(self, floor: FloatArray, amplitude: FloatArray) -> FloatArray:
        linear = self.yy - 2 * (floor * self.y + amplitude * self.xy)
        square = floor**2 * self.total + 2 * floor * amplitude * self.x + amplitude**2 * self.xx
        return np.asarray(np.maximum(linear + square, 0.0), dtype=np.float64)

    def laws(self, found: tuple[FloatArray, FloatArray, FloatArray]) -> tuple[list[PowerLaw], FloatArray]:
        """Return each row's best law and its squared residuals."""
        floor, amplitude, residuals = found
        best = residuals.argmin(axis=1)
        rows = np.arange(best.size)
        alpha = EXPONENTS[best]
        natural = amplitude[rows, best] * self.scale**alpha
        laws = [PowerLaw(*map(float, each)) for each in zip(floor[rows, best], natural, alpha, strict=True)]
        return laws, np.asarray(residuals[rows, best], dtype=np.float64)


def _assemble(fits: _Fits, refits: _Fits, *, known: bool) -> ScalingLaw:
    best, residual = fits.laws(fits.free())
    floorless, _ = fits.laws(fits.fixed(0.0))
    free_degrees = max(fits.count - 3, 1)
    # A law that misses by more than the errors say is allowed more; errors that are unknown are the residuals.
    misfit = float(residual[0]) / free_degrees
    allowance = ALLOWED_MISFIT * (max(1.0, misfit) if known else misfit)
    allowed = [best[0]]
    for floor in np.linspace(0.0, max(fits.best_loss, best[0].floor), FLOORS):
        laws, residuals = fits.laws(fits.fixed(float(floor)))
        if residuals[0] <= residual[0] + allowance:
            allowed += laws
    return ScalingLaw(
        best=best[0],
        floorless=floorless[0],
        allowed=tuple(sorted(allowed, key=lambda law: law.floor)),
        refits=tuple(refits.laws(refits.free())[0]),
        floorless_refits=tuple(refits.laws(refits.fixed(0.0))[0]),
        misfit=float(np.sqrt(residual[0] / max(float(fits.total[0, 0]) if not known else fits.count, 1.0))),
    )
