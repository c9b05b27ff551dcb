"""`hpo batch`, called as from the command line."""

import json
from typing import Any

import pytest

from hpo.cli import execute


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert execute(["batch", *arguments]) == 0
    return capsys.readouterr().out


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


def test_a_plan_comes_with_the_rule_and_source_of_each_number(capsys: pytest.CaptureFixture[str]) -> None:
    plan = found(capsys, "--params", "20M", "--metric", "sharpe", "--world-size", "2", "--micro", "64")
    assert (plan["params"], plan["metric"], plan["metric_kind"]) == (20_000_000, "sharpe", "ratio")
    assert (plan["effective_batch"], plan["micro_batch"], plan["world_size"]) == (8192, 64, 2)
    assert plan["accumulation"] == 64
    assert plan["ppo"] is None
    assert [rule["value"] for rule in plan["rules"]] == [2048, 4472, 44_721, 8192, 64, 64]
    assert all(set(rule) == {"rule", "value", "source"} for rule in plan["rules"])
    assert [finding["level"] for finding in plan["findings"]] == ["note"]


def test_an_iteration_of_ppo_is_planned_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    plan = found(capsys, "--params", "1B", "--ppo", "--world-size", "4", "--epochs", "2")
    assert (plan["effective_batch"], plan["micro_batch"], plan["accumulation"]) == (32, 8, 1)
    assert plan["ppo"] == {
        **{"rollouts": 64, "chunk": 16, "batch": 8, "epochs": 2, "chunks": 4, "optimizer_steps": 16},
        **{"table_row": "1B", "table_learning_rate": 6e-6},
    }
    assert "64 rollouts in 4 chunks of 16" in printed(capsys, "--params", "1B", "--ppo")


def test_a_measured_window_and_a_limit_decide_the_micro_batch(capsys: pytest.CaptureFixture[str]) -> None:
    # 16 bytes x 20M are 0.32 GB; of the other 0.68 GB 17 windows of 40 MB fit, and 16 divides.
    plan = found(capsys, "--params", "20M", "--memory-gb", "1", "--window-mb", "40")
    assert (plan["micro_batch"], plan["accumulation"]) == (16, 4)


def test_a_batch_under_the_square_root_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, "--params", "5.6M", "--metric", "sharpe", "--effective", "1024")
    assert "warning: an effective batch for sharpe should reach sqrt(5.6M) = 2366" in said


@pytest.mark.parametrize(
    "arguments",
    [
        "--params 20M --metric sharpe",
        "--params 1.234567B --metric information_ratio --effective 4096 --world-size 4 --ppo",
        "--params 20M",
    ],
)
def test_what_is_printed_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, printed(capsys, *arguments.split()).splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "--params"),
        ("--params many", "many"),
        ("--params 20M --metric sharp", "did you mean sharpe?"),
        ("--params 20M --metric sharpe --effective 256", "at least 2048 at 20M parameters, not 256: take 8192"),
        ("--params 20M --effective 0", "not 0"),
        ("--params 20M --effective some", "some"),
        ("--params 20M --effective 64 --micro 48", "48 does not divide 64: take 32 or 64"),
        ("--params 20M --effective 64 --world-size 3", "64 is not one of 3: take 63 or 66"),
        ("--params 20M --world-size 0", "world size is a whole number from 1"),
        ("--params 20M --memory-gb 8", "give both or neither"),
        ("--params 20M --memory-gb nan --window-mb 1", "nan"),
        ("--params 20M --memory-gb 8 --window-mb=-1", "-1"),
        ("--params 20M --memory-gb 0.1 --window-mb 1", "take a smaller model"),
        ("--params 20M --memory-gb 1 --window-mb 40 --micro 64", "take 16"),
        ("--params 20M --rollouts 64", "add --ppo"),
        ("--params 20M --ppo --rollouts 60", "60 is not one of 32: take 32 or 64"),
        ("--params 20M --ppo --rollouts 64 --chunk 24", "take 16 or 32"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: str, said: str) -> None:
    assert execute(["batch", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err
