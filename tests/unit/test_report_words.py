"""The page, the Markdown and the pieces of the charts, on evidence that is written down here."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from hpo.report.charts.cost import pareto_front
from hpo.report.charts.history import history, in_order
from hpo.report.charts.style import logarithmic, short, shown
from hpo.report.drawing import draw
from hpo.report.evidence import Evidence, Kind, Trial
from hpo.report.findings import findings
from hpo.report.markdown import markdown
from hpo.report.page import page
from hpo.report.ranges import at_the_edge
from hpo.report.summary import summarize
from hpo.report.top import top_columns, top_trials
from hpo.reporting import as_json, file_name

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = {
    "budget": CategoricalDistribution(["750k", "2M"]),
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
}


def trial(number: int, score: float | None, **more: Any) -> Trial:
    params = {"budget": "2M" if number % 2 else "750k", "learning_rate": 1e-5 * (1 + number)}
    given: dict[str, Any] = {"kind": Kind.SAMPLED, "state": "failed" if score is None else "complete"} | more
    began = BEGAN + timedelta(minutes=number)
    return Trial(
        **{
            "study": "one",
            "number": number,
            "score": score,
            "params": params,
            "size": 2e6 if number % 2 else 7.5e5,
            "began": began,
            "ended": began + timedelta(seconds=30 + number),
            **given,
        }
    )


def study(trials: Sequence[Trial], **more: Any) -> Evidence:
    given: dict[str, Any] = {"name": "one", "direction": "maximize", "score_name": "score", "space": SPACE} | more
    return Evidence(trials=tuple(trials), **given)


SOME = study([trial(number, 0.5 + 0.01 * (number % 7)) for number in range(24)], size_name="exact_params")


def whole_page(evidence: Evidence) -> str:
    found = findings(evidence)
    return page(found, summarize(found), draw(found), datetime(2026, 1, 2))


def test_the_page_holds_every_chart_and_asks_the_network_for_nothing() -> None:
    text = whole_page(SOME)
    for chart in draw(findings(SOME)):
        assert f'id="{chart.name}"' in text
        assert (f'id="chart-{chart.name}"' in text) == (chart.figure is not None)
    before, _, after = text.partition("<script>")
    assert "src=" not in before
    assert 'src="http' not in after
    assert "<link" not in before


def test_a_name_that_holds_markup_is_shown_and_not_obeyed() -> None:
    evil = "<img src=x onerror=alert(1)>"
    named = study([replace(trial(n, 0.5), attributes={"design": evil, "message": evil}) for n in range(4)], name=evil)
    text = whole_page(named).replace("\\u003c", "<")
    assert "<img" not in text.partition("</script>")[2].replace('"<img', "")
    assert "&lt;img" in text


def test_words_between_backticks_are_code() -> None:
    assert "put <code>seeds: 3</code>" in whole_page(SOME) or "two other seeds" in whole_page(SOME)
    assert "name it with <code>" not in whole_page(SOME)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0, 0.5)],
        [trial(n, 0.5) for n in range(3)],
        [trial(n, None) for n in range(5)],
        [trial(2 * n, 0.5 + n / 100) for n in range(12)],
        [replace(trial(n, 0.5 + n / 100), size=None, began=None, ended=None) for n in range(12)],
        [trial(n, None, state="waiting", began=None, ended=None) for n in range(3)],
    ],
    ids=["none", "one", "three", "failed", "one budget", "bare", "waiting"],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_thin_study_gives_a_report_that_says_so(trials: list[Trial], direction: str) -> None:
    evidence = study(trials, direction=direction)
    found = findings(evidence)
    words = summarize(found)
    assert words.limits
    assert words.learnt
    text = markdown(found, words, draw(found))
    assert "What this can't tell" in text
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["study"] == "one"
    assert "</html>" in whole_page(evidence)
    if not any(each.score is not None for each in trials):
        assert words.learnt[0] == "No trial has a score: nothing was learnt yet."


def test_nothing_in_the_json_is_without_a_number() -> None:
    found = findings(SOME).as_json()
    assert {"noise", "scaling", "effects", "importances", "top", "limits", "trials"} <= found.keys()
    assert found["trials"] == {"complete": 24}
    assert [each["score"] for each in found["top"]][:3] == pytest.approx([0.56, 0.56, 0.56])


def test_markdown_shows_underscores_and_bars_as_they_are() -> None:
    named = study([replace(trial(n, 0.5), attributes={"design": "a_b|c"}) for n in range(4)])
    found = findings(named)
    table = [line for line in markdown(found, summarize(found), []).splitlines() if line.startswith("| 0")]
    assert "a\\_b\\|c" in table[0]


def test_the_pareto_front_holds_what_no_cheaper_trial_beats() -> None:
    priced = [(trial(0, 0.5), 1.0), (trial(1, 0.4), 2.0), (trial(2, 0.6), 3.0), (trial(3, 0.6), 4.0)]
    assert [each.number for each, _ in pareto_front(priced, maximizes=True)] == [0, 2]
    assert [each.number for each, _ in pareto_front(priced, maximizes=False)] == [0, 1]
    assert pareto_front([], maximizes=True) == []


def test_trials_of_phase_2_come_after_those_of_phase_1() -> None:
    late = trial(0, 0.5, ended=BEGAN + timedelta(hours=9))
    added = trial(0, 0.7, study="one/phase2/2M", ended=BEGAN + timedelta(hours=1), kind=Kind.SUPPLEMENTARY)
    both = study([late], supplements=(study([added], name="one/phase2/2M"),))
    assert [each.study for each in in_order(both)] == ["one", "one/phase2/2M"]
    drawn = history(both).figure
    assert drawn is not None
    assert [trace.name for trace in drawn.data] == ["sampled", "Phase 2", "best so far"]
    assert list(drawn.data[-1].y) == [0.5, 0.7]


@pytest.mark.parametrize(("low", "high"), [(7e5, 2.6e6), (1e3, 1e12), (5.0, 5.0), (1e-5, 1e-3), (2.1e6, 2.3e6)])
def test_a_logarithmic_axis_has_a_few_ticks_in_any_range(low: float, high: float) -> None:
    axis = logarithmic([low, high])
    assert 1 <= len(axis["tickvals"]) <= 6
    assert axis["range"][0] < axis["range"][1]


@pytest.mark.parametrize("decade", [1e-6, 1.0, 1e6])
def test_a_logarithmic_axis_names_something_at_every_single_value(decade: float) -> None:
    for mantissa in range(100, 1000, 5):
        axis = logarithmic([mantissa / 100 * decade])
        assert axis["tickvals"], mantissa
        assert all(axis["range"][0] <= math.log10(tick) <= axis["range"][1] for tick in axis["tickvals"])


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_a_study_of_other_tools_may_hold_lists_nan_and_clocks_that_were_set_back() -> None:
    layers = CategoricalDistribution([[64, 64], [128]])  # type: ignore[list-item]
    odd = [
        trial(
            n,
            0.5 + n / 100,
            params={"layers": [64, 64] if n % 2 else [128], "rate": 0.1},
            attributes={"log_loss": math.nan, "auc_low": "low", "flops": "many", "seed": None},
            ended=BEGAN,
        )
        for n in range(1, 13)
    ]
    found = findings(study(odd, space={"layers": layers}))
    assert "</html>" in page(found, summarize(found), draw(found), datetime(2026, 1, 2))
    text = json.dumps(as_json(found, summarize(found)), allow_nan=False)
    assert "NaN" not in text
    assert all(each.seconds is None for each in odd)


def test_the_best_is_the_best_mean_and_not_the_luckiest_seed() -> None:
    lucky = {"budget": "2M", "learning_rate": 1e-4}
    steady = {"budget": "2M", "learning_rate": 2e-4}
    scores = [(lucky, 0.700), (lucky, 0.660), (lucky, 0.640), (steady, 0.680), (steady, 0.676), (steady, 0.678)]
    trials = [trial(n, score, params=params, attributes={"seed": n}) for n, (params, score) in enumerate(scores)]
    found = findings(study(trials))
    words = summarize(found)
    assert found.top[0].trial.number == 3
    assert found.top[0].contender.score == pytest.approx(0.678)
    assert "has a mean of 0.6780 over 3 runs: trial 3" in words.learnt[0]
    assert ("best score, mean of 3 seeds", "0.6780") in words.facts
    assert any("is below the noise between seeds" in sentence for sentence in words.learnt)


def test_scores_of_one_seed_or_of_unknown_seeds_are_no_noise_between_seeds() -> None:
    again = {"budget": "2M", "learning_rate": 1e-4}
    for seed in (42, None):
        trials = [trial(n, 0.6 + n / 1000, params=again, attributes={"seed": seed}) for n in range(6)]
        found = findings(study(trials))
        assert found.noise is None
        assert ("noise between seeds", "unknown") in summarize(found).facts


def test_small_and_large_scores_are_shown_in_digits_that_tell_them_apart() -> None:
    assert [shown(score) for score in (0.74117, 0.0, 3.2e-5, -0.5, 1.5e200)] == [
        *("0.7412", "0.0000", "3.2e-05", "-0.5000", "1.5e+200"),
    ]


def test_numbers_are_short() -> None:
    assert [short(number) for number in (2_256_193, 0.00074, 12, 1.2e12, 0)] == ["2.26M", "0.00074", "12", "1.2T", "0"]


def test_a_parameter_whose_best_values_lie_at_an_end_is_named() -> None:
    rates = [trial(n, 0.5 + n / 100, params={"budget": "2M", "learning_rate": 1e-5 * 1.21**n}) for n in range(25)]
    (said,) = at_the_edge(study(rates))
    assert "upper end of learning rate, 0.001" in said
    assert list(at_the_edge(SOME)) == []


def test_columns_say_what_differs_in_meaning() -> None:
    top = top_trials(SOME)
    assert top_columns(top) == [
        *("#", "configuration", "score", "budget", "learning_rate", "parameters", "seed", "seconds"),
    ]
    assert top[0].cells(["score", "seed", "parameters"]) == ["0.5600", "–", "750k"]


@pytest.mark.parametrize(
    ("study_name", "file"),
    [
        ("quickstart/phase2/2M", "quickstart-phase2-2M"),
        ("../../etc/passwd", "etc-passwd-"),
        ("…", "study-"),
        ("a b", "a-b-"),
    ],
)
def test_a_file_is_named_after_its_study_and_stays_in_its_folder(study_name: str, file: str) -> None:
    assert file_name(study_name).startswith(file)
    assert Path(file_name(study_name)).name == file_name(study_name)
