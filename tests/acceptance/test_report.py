"""`hpo report` as it is used: looked at in a real browser, piped, published, and asked of studies that say little."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from browser import browser_page, charts_on, overlapping
from command import Command
from dashboards import dashboard

from hpo.settings import load_settings
from hpo.storage import open_storage

SPEC = """
name: {name}
objective: objectives:{objective}
budgets: [{budgets}]
trials: {trials}
forced_extremes: {forced}
max_attempts: 1
seeds: {seeds}
early_stop: {{patience: 1000}}
"""
CHARTS = ["history", "sizes", "rates", "effects", "importances", "cost", "coordinates", "curves", "timeline"]


def make(hpo: Command, name: str, objective: str, trials: int, **more: Any) -> None:
    given = {"budgets": "750k, 2M, 20M, 200M", "forced": "true", "seeds": 1, **more}
    spec = SPEC.format(name=name, objective=objective, trials=trials, **given)
    ended = hpo.run("run", hpo.write(f"{name}.yaml", spec), "--json")
    assert ended.code in {0, 1}, ended.err


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory, module_home: Path) -> Command:
    """A machine with a finished study that has a law, an effect and noise, and its Phase 2."""
    command = Command(module_home, tmp_path_factory.mktemp("lawful"))
    make(command, "lawful", "lawful", trials=44, seeds=3)
    command.json("phase2", "lawful", "--trials", "12", "--top-budgets", "1")
    return command


@pytest.fixture(scope="module")
def page(lawful: Command) -> Path:
    ended = lawful.run("report", "lawful", "--out", "reports")
    assert ended.code == 0, ended.err
    assert all(len(line) <= 80 for line in ended.out.splitlines() if "reports/" not in line), ended.out
    return lawful.directory / "reports" / "lawful.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_every_chart_with_no_word_over_another_and_asks_no_network(page: Path, width: int) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    with browser_page(width) as browser:
        browser.on("request", lambda request: asked.append(request.url))
        browser.on("pageerror", lambda error: complaints.append(str(error)))
        browser.goto(page.as_uri())
        browser.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 9")
        browser.wait_for_timeout(1000)
        charts = {chart["id"].removeprefix("chart-"): chart for chart in charts_on(browser)}
        wide = browser.evaluate("document.documentElement.scrollWidth")
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert set(CHARTS) <= charts.keys()
    assert wide <= width
    for name, chart in charts.items():
        assert chart["drawn"] > 0, f"{name} is empty"
        assert overlapping(chart["words"]) == [], name
        cut = [word["text"] for word in chart["words"] if not chart["left"] - 1 <= word["left"] <= chart["right"] + 1]
        assert cut == [], name


def test_what_was_planted_is_found_and_said(lawful: Command) -> None:
    found = lawful.json("report", "lawful", "--format", "json")
    assert found["scaling"]["parameters"]["verdict"] == "improves"
    assert found["scaling"]["parameters"]["hold_out"]["label"] == "200M"
    worse = {effect["name"] for effect in found["effects"] if effect["verdict"] == "worse"}
    assert worse & {"2M_dropout_low", "200M_dropout_low", "dropout=0.1"}
    assert 0.001 < found["noise"]["standard_deviation"] < 0.012
    assert {"forced", "sampled", "repeat", "supplementary"} >= {each["kind"] for each in found["top"]}
    assert "Larger is better" in " ".join(found["summary"]["learnt"])
    text = lawful.run("report", "lawful", "--format", "md")
    assert text.code == 0
    assert "## What to do next" in text.out
    assert "Larger is better" in text.out


def test_the_page_holds_what_running_a_trial_again_needs(lawful: Command, page: Path) -> None:
    best = lawful.json("report", "lawful", "--format", "json")["top"][0]
    assert {"params", "seed", "derived", "study", "number"} <= best.keys()
    assert best["derived"]["fingerprint"]
    assert f"trial {best['number']} of {best['study']}" in page.read_text()


def test_the_dashboard_shows_figures_and_summary_of_its_own_accord(lawful: Command, tmp_path: Path) -> None:
    with dashboard(lawful) as site, browser_page(1280) as browser:
        study = f"{site.url}/dashboard/studies/{site.study_id('lawful')}"
        browser.goto(f"{study}/note")
        browser.wait_for_selector("text=What was learnt")
        assert "Larger is better" in browser.content()
        browser.goto(study)
        browser.wait_for_selector("text=What size brings")
        browser.wait_for_timeout(500)
        browser.screenshot(path=tmp_path / "dashboard.png", full_page=True)
        content = browser.content()
    for title in ("The search", "Effects against the noise", "Score against cost"):
        assert title in content, title


def test_publishing_again_replaces_what_is_there(lawful: Command) -> None:
    before = _study_attributes(lawful, "lawful")
    ended = lawful.run("report", "lawful", "--publish", "--out", "again")
    assert ended.code == 0
    assert re.search(r"\d+ figures and the summary are in the dashboard", ended.err)
    assert _study_attributes(lawful, "lawful").keys() == before.keys()


def _study_attributes(hpo: Command, name: str) -> dict[str, Any]:
    with open_storage(load_settings(hpo.environment())) as storage:
        return optuna.load_study(study_name=name, storage=storage.optuna).user_attrs


def test_a_study_of_luck_gives_no_effect_and_no_law(hpo: Command) -> None:
    make(hpo, "luck", "luck", trials=24, seeds=3)
    found = hpo.json("report", "luck", "--format", "json")
    assert {effect["verdict"] for effect in found["effects"]} <= {"below_the_noise", "unknown"}
    assert found["scaling"]["parameters"]["verdict"] in {"flat", "not_identifiable"}
    assert "below the noise" in " ".join(found["summary"]["learnt"])


@pytest.mark.parametrize(
    ("objective", "trials", "said"),
    [
        ("score", 3, "Only 3 trials"),
        ("undefined", 3, "All 3 trials that have ended failed"),
    ],
)
def test_a_thin_study_gives_a_report_that_says_so(hpo: Command, objective: str, trials: int, said: str) -> None:
    make(hpo, "thin", objective, trials, budgets="2M", forced="false")
    ended = hpo.run("report", "thin", "--out", "reports")
    assert ended.code == 0, ended.err
    found = hpo.json("report", "thin", "--format", "json")
    assert said in " ".join(limit["sentence"] for limit in found["limits"])
    assert said in (hpo.directory / "reports" / "thin.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "nobody"), "unknown study 'nobody'"),
        (("report", "thin", "--out", "thin.yaml"), "--out is a folder"),
        (("report", "thin", "--size", "nonsense"), "nonsense"),
        (("report", "thin", "--top-k", "2"), "add --final"),
        (("report", "thin", "--format", "pdf"), "pdf"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(hpo: Command, arguments: tuple[str, ...], words: str) -> None:
    make(hpo, "thin", "score", 3, budgets="2M", forced="false")
    before = sorted(hpo.directory.iterdir())
    ended = hpo.run(*arguments)
    assert ended.code == 2
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert sorted(hpo.directory.iterdir()) == before
    assert json.dumps(ended.out) == '""'


def test_a_worker_puts_the_report_into_the_dashboard_when_a_study_has_ended(hpo: Command) -> None:
    given = {"budgets": "2M", "forced": "false", "seeds": 1}
    spec = SPEC.format(name="fleet", objective="score", trials=3, **given)
    hpo.json("run", hpo.write("fleet.yaml", spec), "--workers", "0")
    assert "learnt" not in _study_attributes(hpo, "fleet")
    ended = hpo.run("worker", "--study", "fleet", "--idle-exit", "2")
    assert ended.code == 0, ended.err
    attributes = _study_attributes(hpo, "fleet")
    assert "## What was learnt" in attributes["learnt"]
    assert attributes["report"] == ["finished", 3]
