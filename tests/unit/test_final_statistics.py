"""The intervals of finalists hold a known truth, and a comparison finds what was planted and nothing else."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from hpo.report.final_statistics import (
    Floats,
    Keys,
    SeedNoise,
    areas_of,
    difference_from_fixed,
    mean_area,
    mean_difference,
    seed_noise,
)
from studies.metrics import area_influence, area_under_curve, clustered_auc_interval

REPEATS = 200
SHARED, OF_DATE, OF_CONFIGURATION, OF_SEED = 0.7, 0.5, 0.3, 0.5
SPREAD = math.sqrt(2 * (SHARED**2 + OF_DATE**2 + OF_CONFIGURATION**2 + OF_SEED**2))


class World:
    """Scores whose true area is known: normal around a strength times the label, which differs from seed to seed.

    All models share what a date and an observation do to every score, as models of the same features do.
    """

    def __init__(self, strengths: tuple[float, ...], between_seeds: float, *, seeds: int = 3, dates: int = 200) -> None:
        self.strengths, self.between_seeds, self.seeds, self.dates = strengths, between_seeds, seeds, dates

    def truth(self, configuration: int) -> float:
        spread = math.sqrt(SPREAD**2 + self.between_seeds**2)
        return NormalDist().cdf(self.strengths[configuration] / spread)

    def draw(self, random: np.random.Generator) -> tuple[Floats, Keys, list[Floats]]:
        series, n = 2, 2 * self.dates
        labels = (random.random(n) < 0.3).astype(float)
        common = SHARED * random.normal(size=n) + np.repeat(OF_DATE * random.normal(size=self.dates), series)
        models = []
        for strength in self.strengths:
            own = common + OF_CONFIGURATION * random.normal(size=n)
            strengths = strength + self.between_seeds * random.normal(size=self.seeds)
            models.append(strengths[:, None] * labels + own + OF_SEED * random.normal(size=(self.seeds, n)))
        return labels, np.repeat(np.arange(self.dates), series), models


def noise_of(labels: Floats, models: list[Floats]) -> SeedNoise:
    return seed_noise([areas_of(labels, each).tolist() for each in models])


@pytest.mark.parametrize("between_seeds", [0.0, 0.1, 0.3])
def test_the_interval_of_a_mean_holds_the_true_area_about_as_often_as_it_says(between_seeds: float) -> None:
    world, random, held = World((0.4, 0.4, 0.4), between_seeds), np.random.default_rng(1), 0
    for _ in range(REPEATS):
        labels, dates, models = world.draw(random)
        found = mean_area(labels, models[0], dates, noise_of(labels, models))
        held += found.low <= world.truth(0) <= found.high
    assert 0.92 <= held / REPEATS <= 0.995


@pytest.mark.parametrize("between_seeds", [0.0, 0.1, 0.3])
def test_two_equal_configurations_are_rarely_told_apart(between_seeds: float) -> None:
    world, random, told = World((0.4, 0.4, 0.4), between_seeds), np.random.default_rng(2), 0
    for _ in range(REPEATS):
        labels, dates, models = world.draw(random)
        told += mean_difference(labels, models[0], models[1], dates, noise_of(labels, models)).excludes_zero
    assert told / REPEATS <= 0.08


def test_a_planted_difference_is_found_and_its_interval_holds_it() -> None:
    world, random, told, held = World((0.9, 0.4, 0.4), 0.05), np.random.default_rng(3), 0, 0
    for _ in range(100):
        labels, dates, models = world.draw(random)
        found = mean_difference(labels, models[0], models[1], dates, noise_of(labels, models))
        told += found.excludes_zero and found.value > 0
        held += found.low <= world.truth(0) - world.truth(1) <= found.high
    assert told >= 95
    assert held >= 90


def test_a_pair_on_the_same_dates_is_compared_more_sharply_than_two_intervals_would() -> None:
    labels, dates, models = World((0.5, 0.5), 0.0).draw(np.random.default_rng(4))
    noise = noise_of(labels, models)
    apart = [mean_area(labels, each, dates, noise).of_dates for each in models]
    together = mean_difference(labels, models[0], models[1], dates, noise).of_dates
    assert together < 0.6 * math.hypot(*apart)


def test_the_influence_of_the_clusters_is_the_variance_of_the_interval_that_trials_have() -> None:
    labels, dates, models = World((0.5,), 0.0, seeds=1).draw(np.random.default_rng(5))
    influence = area_influence(labels, models[0][0], dates)
    assert influence.shape == (200,)
    assert influence.sum() == pytest.approx(0.0, abs=1e-12)
    by_influence = math.sqrt(influence @ influence * 200 / 199)
    assert by_influence == pytest.approx(clustered_auc_interval(labels, models[0][0], dates).standard_error, rel=0.01)


def test_one_seed_gives_an_interval_over_dates_and_says_that_seeds_are_unknown() -> None:
    labels, dates, models = World((0.5,), 0.0, seeds=1).draw(np.random.default_rng(6))
    found = mean_area(labels, models[0], dates, noise_of(labels, models))
    expected = clustered_auc_interval(labels, models[0][0], dates)
    assert not found.seeds_known
    assert found.of_seeds == 0.0
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_the_noise_between_seeds_is_pooled_over_configurations_of_any_number_of_seeds() -> None:
    assert seed_noise([[0.6, 0.6], [0.5]]) == SeedNoise(0.0, 1)
    assert seed_noise([[0.5], [0.7]]) == SeedNoise(0.0, 0)
    pooled = seed_noise([[0.60, 0.62], [0.50, 0.54, 0.58], [0.55], []])
    assert pooled.degrees == 3
    assert pooled.variance == pytest.approx((2 * 0.01**2 + 2 * 0.04**2) / 3)


def test_a_configuration_noisier_than_the_others_has_its_own_noise() -> None:
    labels, dates, models = World((0.5,), 0.0).draw(np.random.default_rng(7))
    calm = mean_area(labels, models[0], dates, SeedNoise(0.0, 4))
    own = float(areas_of(labels, models[0]).var(ddof=1))
    assert calm.of_seeds == pytest.approx(math.sqrt(own / 3))
    loud = mean_area(labels, models[0], dates, SeedNoise(100 * own, 4))
    assert loud.of_seeds == pytest.approx(math.sqrt(100 * own / 3))
    assert loud.high - loud.low > calm.high - calm.low


def test_a_model_without_seeds_is_compared_on_the_same_dates() -> None:
    labels, dates, models = World((0.9, 0.3), 0.0).draw(np.random.default_rng(8))
    fixed = models[1][0]
    found = difference_from_fixed(labels, models[0], fixed, dates, noise_of(labels, models))
    mean = float(np.mean([area_under_curve(labels, each) for each in models[0]]))
    assert found.value == pytest.approx(mean - area_under_curve(labels, fixed))
    assert found.excludes_zero


def test_predictions_that_are_perfect_or_constant_give_an_interval_that_claims_nothing_wrong() -> None:
    labels = np.array([0.0, 1.0] * 10)
    dates = np.arange(20)
    perfect = mean_area(labels, np.stack([labels, labels]), dates, SeedNoise(0.0, 1))
    assert (perfect.value, perfect.low, perfect.high) == (1.0, 0.0, 1.0)
    constant = mean_area(labels, np.full((2, 20), 0.3), dates, SeedNoise(0.0, 1))
    assert (constant.value, constant.low, constant.high) == (0.5, 0.5, 0.5)
    same = mean_difference(labels, np.stack([labels]), np.stack([labels]), dates, SeedNoise(0.0, 0))
    assert not same.excludes_zero
