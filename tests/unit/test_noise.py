"""The noise between seeds: known truths are recovered, and what is no repeat does not count as one."""

import json
import math
import random
from statistics import fmean

import pytest

from hpo.noise import SeedNoise, pooled_noise
from hpo.report.evidence import Kind, Trial
from hpo.report.noise import Noise, noise_floor


def trial(number: int, score: float | None, seed: int | None = None, study: str = "s", **params: float) -> Trial:
    attributes = {} if seed is None else {"seed": seed}
    return Trial(study, number, Kind.SAMPLED, "complete", score, params, attributes)


def test_the_noise_is_pooled_over_configurations_by_their_degrees_of_freedom() -> None:
    samples = [("a", 1, 0.70), ("a", 2, 0.72), ("b", 1, 0.60), ("c", 1, 0.5), ("c", 2, 0.5), ("c", 3, 0.53)]
    found = pooled_noise(samples)
    assert found is not None
    assert found.standard_deviation == pytest.approx(((0.0002 + 0.0006) / 3) ** 0.5)
    assert (found.configurations, found.degrees_of_freedom, found.duplicates) == (2, 3, 0)


@pytest.mark.parametrize("samples", [[], [("a", 1, 0.7)], [("a", 1, 0.7), ("b", 2, 0.7)], [("a", 1, math.nan)] * 3])
def test_without_two_scores_of_one_configuration_the_noise_is_not_known(
    samples: list[tuple[str, int, float]],
) -> None:
    assert pooled_noise(samples) is None


@pytest.mark.parametrize(
    ("seeds", "repeats", "duplicates"),
    [
        ((1, 1), 0, 1),
        ((None, None), 0, 1),
        ((None, 1), 0, 1),
        ((1, None), 0, 1),
        ((1, 2), 1, 0),
        ((1, 2, 1, None), 1, 2),
    ],
)
def test_an_equal_score_of_an_equal_or_unknown_seed_is_a_duplicate_and_no_seed(
    seeds: tuple[int | None, ...], repeats: int, duplicates: int
) -> None:
    found = pooled_noise([("a", seed, 0.7) for seed in seeds] + [("b", 1, 0.5), ("b", 2, 0.6)])
    assert found is not None
    assert (found.degrees_of_freedom - 1, found.duplicates) == (repeats, duplicates)


def test_scores_of_any_finite_size_give_a_noise_or_none_and_no_error() -> None:
    found = pooled_noise([("a", 1, 1e300), ("a", 2, -1e300)])
    assert found is not None
    assert found.standard_deviation == pytest.approx(2**0.5 * 1e300)
    assert pooled_noise([("a", 1, 1.7e308), ("a", 2, -1.7e308), ("a", 3, 1.7e308)]) is None


def test_a_study_of_duplicates_alone_has_no_noise() -> None:
    assert noise_floor([trial(number, 0.7, x=1.0) for number in range(5)]) is None


def test_other_scores_of_unknown_seeds_are_noise_of_an_unknown_kind() -> None:
    trials = [trial(0, 0.7, x=1.0), trial(1, 0.72, x=1.0), trial(2, 0.72, x=1.0), trial(3, None, x=1.0)]
    assert noise_floor(trials) is None


def test_the_same_seed_again_is_left_out_and_counted() -> None:
    found = noise_floor([trial(0, 0.7, 1, x=1.0), trial(1, 0.72, 2, x=1.0), trial(2, 0.72, 2, x=1.0)])
    assert found is not None
    assert (found.degrees_of_freedom, found.duplicates) == (1, 1)
    assert "1 duplicate left out" in found.sentence


def test_equal_parameters_in_two_studies_are_two_configurations() -> None:
    assert noise_floor([trial(0, 0.7, 1, x=1.0), trial(0, 0.8, 2, study="s/phase2/2M", x=1.0)]) is None


def test_the_interval_holds_the_true_noise_as_often_as_it_says() -> None:
    draw, held, estimates = random.Random(1), 0, []
    for _ in range(1000):
        samples = [(key, seed, draw.gauss(0.7, 0.01)) for key in "ab" for seed in range(3)]
        found = pooled_noise(samples)
        assert found is not None
        noise = Noise.of(found)
        held += noise.low <= 0.01 <= noise.high
        estimates.append(noise.standard_deviation**2)
    assert 0.93 <= held / 1000 <= 0.97
    assert fmean(estimates) ** 0.5 == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (3, 1), (3, 3)])
def test_differences_of_nothing_but_noise_are_called_so_in_95_of_100_cases(n_a: int, n_b: int) -> None:
    draw, below = random.Random(2), 0
    for _ in range(2000):
        found = pooled_noise((key, seed, draw.gauss(0, 1)) for key in "ab" for seed in range(3))
        assert found is not None
        a, b = (fmean(draw.gauss(0, 1) for _ in range(n)) for n in (n_a, n_b))
        below += Noise.of(found).is_below_noise(a - b, n_a, n_b)
    assert 0.935 <= below / 2000 <= 0.965


def test_an_effect_far_above_the_noise_is_none_of_it_and_many_repeats_approach_the_normal_quantile() -> None:
    noise = Noise.of(SeedNoise(0.01, 100_000, 10))
    assert noise.smallest_difference() == pytest.approx(1.96 * 2**0.5 * 0.01, rel=1e-3)
    assert noise.is_below_noise(-0.027)
    assert not noise.is_below_noise(-0.028)
    assert Noise.of(SeedNoise(0.01, 4, 2)).smallest_difference() == pytest.approx(2.776 * 2**0.5 * 0.01, rel=1e-3)


def test_a_score_that_ignores_the_seed_has_a_noise_of_zero_and_says_so() -> None:
    found = noise_floor([trial(seed, 0.7, seed, x=1.0) for seed in range(3)])
    assert found is not None
    assert (found.standard_deviation, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.sentence == "The score does not depend on the seed (2 repeats of 1 configuration)."
    assert found.is_below_noise(0.0)
    assert not found.is_below_noise(1e-9)


def test_the_noise_as_json_says_all_with_its_sentence() -> None:
    noise = Noise.of(SeedNoise(0.0042, 4, 2))
    assert json.loads(json.dumps(noise.as_json())) == {
        "standard_deviation": 0.0042,
        "degrees_of_freedom": 4,
        "configurations": 2,
        "duplicates": 0,
        "low": pytest.approx(0.0025, abs=1e-4),
        "high": pytest.approx(0.0121, abs=1e-4),
        "sentence": "Between seeds the score of one configuration varies with a standard deviation of 0.0042 "
        "(95 %: 0.0025 to 0.012, from 4 repeats of 2 configurations).",
        "smallest_difference": pytest.approx(0.0165, abs=1e-4),
    }
