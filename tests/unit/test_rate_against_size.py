"""What is said of learning rate and size: a planted exponent, and nothing of learning rates that don't matter."""

import json
import math

import numpy as np
import pytest

from hpo.report.rate_against_size import RateVerdict, SizeRates, analyse_rates

SIZES = [750e3, 2e6, 20e6, 200e6]
LABELS = ["750k", "2M", "20M", "200M"]
COUNTS = [18, 18, 18, 16]


def study(
    generator: np.random.Generator, exponent: float, bend: float = 0.01, counts: list[int] = COUNTS, at_2m: float = 1e-3
) -> list[SizeRates]:
    """Scores that fall off with the squared distance in log rate from the best; noise of 0.01."""
    found = []
    for size, label, count in zip(SIZES, LABELS, counts, strict=False):
        rates = np.exp(generator.uniform(math.log(1e-5), math.log(1e-2), count))
        best = math.log(at_2m) - exponent * math.log(size / 2e6)
        scores = 0.7 - bend * (np.log(rates) - best) ** 2 + 0.01 * generator.normal(size=count)
        found.append(SizeRates(size, label, tuple(rates), tuple(scores)))
    return found


def test_a_planted_exponent_is_found_and_covered() -> None:
    generator = np.random.default_rng(0)
    found = [analyse_rates(study(generator, 0.5), maximizes=True, repeats=200) for _ in range(200)]
    exponents = [each.exponent for each in found if each.exponent is not None]
    assert np.mean(exponents) == pytest.approx(0.5, abs=0.03)
    covered = sum(
        each.exponent_low <= 0.5 <= each.exponent_high
        for each in found
        if each.exponent_low is not None and each.exponent_high is not None
    )
    assert covered >= 184
    assert sum(each.verdict is RateVerdict.FALLS for each in found) >= 170


def test_one_that_rises_is_told_from_one_that_falls() -> None:
    found = analyse_rates(study(np.random.default_rng(1), -0.5, at_2m=1e-4), maximizes=True)
    assert found.verdict is RateVerdict.RISES
    assert found.sentences[0].startswith("The best learning rate rises with size: N^−β with β = −0.")


@pytest.mark.parametrize("counts", [[6, 6, 6, 6], [18, 18, 18, 16], [6, 25, 20, 19], [18, 18, 18]])
def test_learning_rates_that_do_not_matter_get_no_verdict_in_95_of_100_studies(counts: list[int]) -> None:
    generator = np.random.default_rng(2)
    found = [analyse_rates(study(generator, 0, bend=0, counts=counts), maximizes=True, seed=run) for run in range(100)]
    assert sum(each.verdict in {RateVerdict.FLAT, RateVerdict.NOT_IDENTIFIABLE} for each in found) >= 95
    assert all(each.line is None for each in found if each.verdict is RateVerdict.NOT_IDENTIFIABLE)


def test_one_best_learning_rate_for_all_sizes_is_flat_where_it_is_sharp() -> None:
    generator = np.random.default_rng(3)
    sharp = [analyse_rates(study(generator, 0, bend=0.1, counts=[40] * 4), maximizes=True) for _ in range(10)]
    assert sum(each.verdict is RateVerdict.FLAT for each in sharp) >= 9


def test_losses_and_scores_say_the_same() -> None:
    scores = study(np.random.default_rng(4), 0.5)
    losses = [SizeRates(each.size, each.label, each.rates, tuple(-s for s in each.scores)) for each in scores]
    assert analyse_rates(scores, maximizes=True) == analyse_rates(losses, maximizes=False)


def test_the_edge_of_what_was_tried_is_named() -> None:
    found = analyse_rates(study(np.random.default_rng(5), 1.2), maximizes=True)
    assert found.sizes[-1].edge == "low"
    assert any(
        sentence.startswith("At the edge of the learning rates tried") and "200M (low)" in sentence
        for sentence in found.sentences
    )


def test_the_line_goes_through_the_best_rates_and_ten_times_beyond() -> None:
    found = analyse_rates(study(np.random.default_rng(6), 0.5), maximizes=True)
    assert found.line is not None
    assert found.line.sizes[0] == pytest.approx(750e3)
    assert found.line.sizes[-1] == pytest.approx(2e9)
    assert found.line.central[0] == pytest.approx(found.sizes[0].rate, rel=1)
    assert all(np.array(found.line.low) < np.array(found.line.high))


@pytest.mark.parametrize(
    "observed",
    [
        [],
        [SizeRates(1e6, "1M", (), ())],
        [SizeRates(1e6, "1M", (1e-3,) * 4, (0.7,) * 4), SizeRates(2e6, "2M", (1e-3,) * 4, (0.7,) * 4)],
        [SizeRates(1e6, "1M", (0.0,) * 9, (0.7,) * 9), SizeRates(2e6, "2M", (1e-3,) * 9, (math.nan,) * 9)],
        [SizeRates(size, "?", (1e-3,) * 9, (0.7,) * 9) for size in (0.0, -1.0, math.nan, math.inf)],
        [SizeRates(1e6, "1M", (1e-3,) * 9, (0.7,) * 9), SizeRates(2e6, "2M", (1e-3,) * 9, (0.7,) * 9)],
    ],
)
def test_what_is_too_thin_is_said_to_be(observed: list[SizeRates]) -> None:
    found = analyse_rates(observed, maximizes=True)
    assert found.verdict is RateVerdict.NOT_IDENTIFIABLE
    assert found.sentences
    json.dumps(found.as_json(), allow_nan=False)


def test_one_learning_rate_at_every_size_moves_nowhere() -> None:
    observed = [SizeRates(size, label, (1e-4,) * 6, (0.7,) * 6) for size, label in zip(SIZES, LABELS, strict=True)]
    found = analyse_rates(observed, maximizes=True)
    json.dumps(found.as_json(), allow_nan=False)
    assert found.verdict is RateVerdict.NOT_IDENTIFIABLE
    assert found.sentences == ("Nothing can be said of learning rate and size: only 0.0001 was tried.",)
