"""`hpo report STUDY --final`: interrupted, gone on with, started twice at once, and the test part read once."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from command import Command, Here
from servers import TcpPostgres
from sqlalchemy import text

from hpo.storage import open_engine, parse_storage_url

SPEC = """
name: tiny
data: {example: indices, tier: a20}
budgets: [750k]
trials: 2
split: {validation: 0.05, test: 0.05}
training: {max_steps: 2, effective_batch: 8, check_every: 2, window: 20}
"""


@pytest.fixture
def tiny(tcp_postgres: TcpPostgres, tmp_path: Path) -> Here:
    """A study on prices whose two trials have ended."""
    hpo = Here(tmp_path / "home", tmp_path, tcp_postgres.url_of(tcp_postgres.new_database()))
    hpo.json("run", hpo.write("tiny.yaml", SPEC), "--workers", "1")
    return hpo


def readings(hpo: Command) -> list[Any]:
    query = "SELECT study, fingerprint, read_at, plan, result FROM hpo.test_reading ORDER BY read_at"
    return on_database(hpo, query).mappings().all()


def on_database(hpo: Command, query: str) -> Any:
    assert hpo.storage is not None
    engine = open_engine(parse_storage_url(hpo.storage))
    with engine.begin() as connection:
        result = connection.execute(text(query))
        found = result.freeze()() if result.returns_rows else None
    engine.dispose()
    return found


def weights(hpo: Command) -> dict[Path, int]:
    """When the weights of every training of a finalist were written."""
    return {path: path.stat().st_mtime_ns for path in (hpo.home / "artifacts").glob("*/final/*/*/*/weights.ckpt")}


FINAL = ("report", "tiny", "--final", "--top-k", "2", "--final-seeds", "2")


def an_interrupted_one_has_read_nothing(tiny: Here) -> None:
    running = tiny.start(*FINAL, "--workers", "1")
    assert running.stderr is not None
    line = next(line for line in running.stderr if line.startswith("1/4 "))
    assert "seed 2: validation 0." in line
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert "interrupted, and the test part is not read: " in err
    assert readings(tiny) == []
    assert 1 <= len(weights(tiny)) < 4


def two_at_once_go_on_with_it_and_read_once(tiny: Here) -> None:
    before = weights(tiny)
    both = [tiny.start(*FINAL, "--json") for _ in range(2)]
    ended = [(process, *process.communicate(timeout=400)) for process in both]
    assert [process.returncode for process, _, _ in ended] == [0, 0], ended
    found = [json.loads(out) for _, out, _ in ended]
    assert sorted(each["just_read"] for each in found) == [False, True]
    assert found[0]["result"] == found[1]["result"]
    after = weights(tiny)
    assert len(after) == 4
    assert before.items() <= after.items()
    assert len(readings(tiny)) == 1
    scores, plan = found[0]["result"]["scores"], found[0]["plan"]
    assert [score["rank"] for score in scores] == [1, 2]
    assert [score["seeds"] for score in scores] == [[2, 3], [2, 3]]
    assert all(score["test"]["low"] < score["test"]["value"] < score["test"]["high"] for score in scores)
    assert plan["seeds"] == [2, 3]
    assert [finalist["chosen_by"] for finalist in plan["finalists"]] == sorted(
        (finalist["chosen_by"] for finalist in plan["finalists"]), reverse=True
    )
    assert found[0]["result"]["comparison"]["seeds"] == [2, 3]


def another_call_shows_what_was_said_then_and_reads_nothing(tiny: Here) -> None:
    before, written = readings(tiny), weights(tiny)
    # Neither data nor weights are needed for it.
    (tiny.home / "cache").rename(tiny.home / "away")
    ended = tiny.run("report", "tiny", "--final")
    (tiny.home / "away").rename(tiny.home / "cache")
    assert ended.code == 0, ended.err
    assert f"was read at {before[0]['read_at']:%Y-%m-%d %H:%M} UTC" in ended.out
    assert "This is the stored result: nothing was trained, and nothing was read." in ended.out
    assert max(len(line) for line in ended.out.splitlines()) <= 80
    assert (readings(tiny), weights(tiny)) == (before, written)


def another_choice_is_refused_in_one_line(tiny: Here) -> None:
    for option, value, was in (("--top-k", "1", 2), ("--final-seeds", "3", 2)):
        ended = tiny.run("report", "tiny", "--final", option, value)
        assert ended.code == 2
        assert f"with {option} {was}, and is not read again with {value}: leave {option} out" in ended.err
        assert ended.err.count("\n") == 1


def whoever_died_while_reading_reads_the_same_again_and_keeps_the_time(tiny: Here) -> None:
    before, written = readings(tiny)[0], weights(tiny)
    on_database(tiny, "UPDATE hpo.test_reading SET result = NULL")
    found = tiny.json("report", "tiny", "--final")
    assert found["just_read"]
    assert readings(tiny) == [before]
    assert weights(tiny) == written


def another_version_is_read_again_and_says_that_it_is_the_second_time(tiny: Here) -> None:
    tiny.json("resume", "tiny", "--trials", "3")
    early = tiny.run("report", "tiny", "--final")
    assert early.code == 2
    assert early.err.strip() == (
        "the test part is read when the search has ended, and tiny is running: let it end, or `hpo stop tiny`"
    )
    tiny.json("stop", "tiny")
    ended = tiny.run("report", "tiny", "--final", "--top-k", "1", "--final-seeds", "1")
    assert ended.code == 0, ended.err
    assert "the test part of these prices was read before, by tiny" in " ".join(ended.err.split())
    said = " ".join(ended.out.split())
    assert "This is the 2nd reading of the test part of these prices" in said
    assert "One seed says nothing of the noise between seeds" in said
    assert len(readings(tiny)) == 2


def test_the_test_part_is_read_once_whatever_happens_on_the_way(tiny: Here) -> None:
    an_interrupted_one_has_read_nothing(tiny)
    two_at_once_go_on_with_it_and_read_once(tiny)
    another_call_shows_what_was_said_then_and_reads_nothing(tiny)
    another_choice_is_refused_in_one_line(tiny)
    whoever_died_while_reading_reads_the_same_again_and_keeps_the_time(tiny)
    another_version_is_read_again_and_says_that_it_is_the_second_time(tiny)


def test_what_has_no_finalists_is_refused_in_one_line(tcp_postgres: TcpPostgres, tmp_path: Path) -> None:
    hpo = Here(tmp_path / "home", tmp_path, tcp_postgres.url_of(tcp_postgres.new_database()))
    hpo.json("run", hpo.write("own.yaml", "name: own\nobjective: objectives:score\n"), "--workers", "0")
    hpo.json("run", hpo.write("tiny.yaml", SPEC), "--workers", "0")
    hpo.json("stop", "tiny")
    for arguments, said in (
        (("own",), "is read of a study on prices, and own has the objective objectives:score, which brings its own"),
        (("tiny",), "finalists are the best complete trials, and tiny has none: `hpo status tiny --failures` says why"),
        (("nothing",), "unknown study 'nothing'"),
        (("tiny", "--top-k", "0"), "--top-k is from 1 to 100, not 0: 3 is the default"),
        (("tiny", "--final-seeds", "101"), "--final-seeds is from 1 to 100, not 101"),
        (("tiny", "--workers", "0"), "--workers is 1 or more where finalists are trained, not 0"),
    ):
        ended = hpo.run("report", *arguments, "--final")
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert said in ended.err
