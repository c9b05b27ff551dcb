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
from numpy.typing import NDArray

from hpo.report.equal_n import INTERVAL, FloatArray, interval_of

EXPONENTS: Final = np.geomspace(0.005, 3.0, 200)
"""The grid of α, in steps of 3.3 %, refined once the best is known.

A law with 0.005 is a straight line in log N; one with 3 has ended at once.
"""

FLOORS: Final = 60
"""Values of E that are tried between zero and the best loss."""

ALLOWED_MISFIT: Final = 3.84
"""χ² of one degree of freedom at 95 %: how much worse than the best fit an E may do and be allowed."""

LEAST_ERROR: Final = 1e-9
"""The least relative error of a loss: equal losses have a spread of zero, and may not have infinite weight."""

_ROUNDING: Final = 1e-13


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
class Laws:
    """Many laws; one value a law in each array."""

    floor: FloatArray
    amplitude: FloatArray
    exponent: FloatArray

    def losses(self, sizes: FloatArray) -> FloatArray:
        """Return what each expects, shape (laws, sizes)."""
        powers = np.exp(-np.outer(self.exponent, np.log(sizes)))
        return np.asarray(self.floor[:, None] + self.amplitude[:, None] * powers, dtype=np.float64)

    def one(self, index: int) -> PowerLaw:
        """Return one of them."""
        return PowerLaw(float(self.floor[index]), float(self.amplitude[index]), float(self.exponent[index]))

    def with_those(self, others: "Laws", mask: NDArray[np.bool_]) -> "Laws":
        """Return these and the others where the mask is true."""
        mine, theirs = (np.stack([each.floor, each.amplitude, each.exponent]) for each in (self, others))
        return Laws(*np.concatenate([mine, theirs[:, mask]], axis=1))


@dataclass(frozen=True)
class ScalingLaw:
    """A law with everything that the losses leave open.

    Attributes:
        best: the best fit, E free.
        floorless: the best fit with E = 0, the other end of what is reported.
        allowed: the best fit, and the best law for each other E that the losses allow.
        refits, floorless_refits: of resampled losses, with E free and with E = 0.
        misfit: root of the weighted mean squared residual of the best fit, in units of the errors.
    """

    best: PowerLaw
    floorless: PowerLaw
    allowed: Laws
    refits: Laws
    floorless_refits: Laws
    misfit: float

    @property
    def allowed_floors(self) -> tuple[float, float]:
        """The smallest and the largest E that the losses allow."""
        return float(self.allowed.floor.min()), float(self.allowed.floor.max())

    @property
    def exponent_bootstrap(self) -> tuple[float, float]:
        """α of the free refits: 95 %."""
        return interval_of(self.refits.exponent)

    @property
    def exponent_interval(self) -> tuple[float, float]:
        """α, whatever E is: the union of the bracket and the bootstraps at both of its ends."""
        bracket = [self.floorless.exponent, *map(float, self.allowed.exponent)]
        ends = [*self.exponent_bootstrap, *interval_of(self.floorless_refits.exponent), *bracket]
        return min(ends), max(ends)

    def at(self, sizes: FloatArray) -> Band:
        """Return what is expected at the sizes, with its intervals."""
        allowed = self.allowed.losses(sizes)
        bracket = np.vstack([allowed, self.floorless.losses(sizes)])
        free = np.quantile(self.refits.losses(sizes), INTERVAL, axis=0)
        zero = np.quantile(self.floorless_refits.losses(sizes), INTERVAL, axis=0)
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
            "E_allowed": list(self.allowed_floors),
            "alpha_interval": list(self.exponent_interval),
            "alpha_bootstrap": list(self.exponent_bootstrap),
            "misfit": self.misfit,
        }


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
    """Weighted fits of rows of losses at the same sizes.

    α is found on the grid, refined by a parabola through the squared residuals beside the best, and the linear part is
    solved again there: with hundreds of runs a prediction ten times ahead would feel a step of the grid. Losses are
    centred, which keeps residuals exact where a law moves them by a thousandth; sizes are divided by their geometric
    mean, so that powers are near one.
    """

    def __init__(self, sizes: FloatArray, losses: FloatArray, weights: FloatArray) -> None:
        self.position = np.log(sizes)
        self.middle = float(self.position.mean())
        self.centre = float(losses.mean())
        self.best_loss = float(losses.min())
        centred = losses - self.centre
        self.weights, self.weighted = weights, weights * centred
        self.total = weights.sum(axis=-1, keepdims=True)
        self.y = self.weighted.sum(axis=-1, keepdims=True)
        self.yy = (self.weighted * centred).sum(axis=-1, keepdims=True)
        powers = self._powers(EXPONENTS)
        self.grid = _Sums(self.weights @ powers.T, self.weights @ (powers**2).T, self.weighted @ powers.T)

    def laws(self, floors: FloatArray | None = None) -> tuple[Laws, FloatArray]:
        """Return the best law of every row with E, A ≥ 0, and its weighted squared residuals.

        Args:
            floors: E, where it is given: one for all rows, or many for a single row of losses.
        """
        *coarse, residuals = self._solved(self.grid, floors)
        rows, best = np.arange(residuals.shape[0]), residuals.argmin(axis=1)
        inner = np.clip(best, 1, EXPONENTS.size - 2)
        before, there, after = (residuals[rows, inner + step] for step in (-1, 0, 1))
        bend = before - 2 * there + after
        offset = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
        offset = np.where(inner == best, np.clip(offset, -0.5, 0.5), 0.0)
        alpha = EXPONENTS[best] * (EXPONENTS[1] / EXPONENTS[0]) ** offset
        powers = self._powers(alpha)
        sums = _Sums(*(each.sum(axis=1, keepdims=True) for each in self._products(powers)))
        *fine, finer = self._solved(sums, floors)
        better = finer[:, 0] <= residuals[rows, best]
        floor, amplitude = (np.where(better, new[:, 0], old[rows, best]) for new, old in zip(fine, coarse, strict=True))
        alpha = np.where(better, alpha, EXPONENTS[best])
        found = np.where(better, finer[:, 0], residuals[rows, best])
        return Laws(floor + self.centre, amplitude * np.exp(self.middle * alpha), alpha), found

    def _powers(self, alpha: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-np.outer(alpha, self.position - self.middle)), dtype=np.float64)

    def _products(self, powers: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        return self.weights * powers, self.weights * powers**2, self.weighted * powers

    def _solved(self, sums: "_Sums", floors: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return centred E, A and squared residuals, each rows × α."""
        if floors is not None:
            rows = max(floors.size, sums.xy.shape[0])
            floor = np.broadcast_to(floors[:, None] - self.centre, (rows, sums.xy.shape[1]))
            return self._with_residuals(sums, floor, self._amplitude(sums, floor))
        determinant, product = self.total * sums.xx - sums.x**2, self.total * sums.xy - sums.x * self.y
        # Powers that are equal but for rounding tell nothing: no slope.
        told = determinant > _ROUNDING * self.total * sums.xx
        # Both at zero is never better: losses are 0 or more. So at most one of the two is at its bound.
        amplitude = np.maximum(np.divide(product, determinant, out=np.zeros_like(product), where=told), 0.0)
        floor = (self.y - amplitude * sums.x) / self.total
        bound = floor + self.centre < 0
        floor = np.where(bound, -self.centre, floor)
        return self._with_residuals(sums, floor, np.where(bound, self._amplitude(sums, floor), amplitude))

    def _amplitude(self, sums: "_Sums", floor: FloatArray) -> FloatArray:
        return np.asarray(np.maximum((sums.xy - floor * sums.x) / sums.xx, 0.0), dtype=np.float64)

    def _with_residuals(
        self, sums: "_Sums", floor: FloatArray, amplitude: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        linear = self.yy - 2 * (floor * self.y + amplitude * sums.xy)
        square = floor**2 * self.total + 2 * floor * amplitude * sums.x + amplitude**2 * sums.xx
        return floor, amplitude, np.maximum(linear + square, 0.0)


@dataclass(frozen=True)
class _Sums:
    """Weighted sums of a power, its square, and the power times the centred loss; rows × α."""

    x: FloatArray
    xx: FloatArray
    xy: FloatArray


def _assemble(fits: _Fits, refits: _Fits, *, known: bool) -> ScalingLaw:
    best, residual = fits.laws()
    count, zero = fits.position.size, np.zeros(1)
    # A law that misses by more than the errors say is allowed more; errors that are unknown are the residuals.
    misfit = float(residual[0]) / max(count - 3, 1)
    allowance = ALLOWED_MISFIT * (max(1.0, misfit) if known else misfit)
    profile, residuals = fits.laws(np.linspace(0.0, max(fits.best_loss, float(best.floor[0])), FLOORS))
    return ScalingLaw(
        best=best.one(0),
        floorless=fits.laws(zero)[0].one(0),
        allowed=best.with_those(profile, residuals <= residual[0] + allowance),
        refits=refits.laws()[0],
        floorless_refits=refits.laws(zero)[0],
        misfit=float(np.sqrt(residual[0] / count)),
    )
