"""A fleet whose broker is killed: the workers are not, and go on with the next one."""

import signal

import psutil
from command import Command
from servers import eventually
from test_fleet import QUICK, make, opened, started, status_of

from hpo.control import Control


def brokers_of(fleet: int) -> list[psutil.Process]:
    """Return the processes that take trials for the workers of this command."""
    found = []
    for process in psutil.Process(fleet).children(recursive=True):
        try:
            sockets = [str(each.laddr) for each in process.net_connections(kind="unix")]
        except psutil.NoSuchProcess:
            continue
        if any("/hpo-broker-" in each for each in sockets):
            found.append(process)
    return found


def test_a_fleet_goes_on_when_its_broker_is_killed(hpo: Command) -> None:
    make(hpo, "brokered", 40)
    with started(hpo, "fleet", "up", "--workers", "3", TRIAL_SECONDS="0.5", **QUICK) as fleet:
        for complete in (6, 16):
            assert eventually(lambda least=complete: status_of(hpo, "brokered")["trials"]["complete"] >= least, 60)
            (broker,) = brokers_of(fleet.pid)
            broker.kill()
        assert eventually(lambda: status_of(hpo, "brokered")["state"] == "finished", 90)
        fleet.send_signal(signal.SIGTERM)
        _, err = fleet.communicate(timeout=30)
    assert fleet.returncode == 0, err
    assert err.count("broker ERROR: died: killed by signal 9") == 2, err
    # The workers lived on: what they trained was theirs to write down.
    assert err.count(" is here") == 3, err
    found = hpo.json("status", "brokered")["trials"]
    assert (found["complete"], found["failed"], found["running"], found["waiting"]) == (40, 0, 0, 0)
    with opened(hpo) as storage:
        causes = {str(trial.cause) for trial in Control(storage.engine).trials("brokered") if trial.cause}
    assert causes <= {"interrupted"}


def test_a_score_is_written_though_fork_server_and_broker_died_under_its_trial(hpo: Command) -> None:
    make(hpo, "both", 6, forced="false")
    with started(hpo, "fleet", "up", "--workers", "2", TRIAL_SECONDS="5", **QUICK) as fleet:
        assert eventually(lambda: status_of(hpo, "both")["trials"]["running"] == 2, 60)
        (server,), (broker,) = psutil.Process(fleet.pid).children(), brokers_of(fleet.pid)
        server.kill()
        broker.kill()
        assert eventually(lambda: status_of(hpo, "both")["state"] == "finished", 90)
        fleet.send_signal(signal.SIGTERM)
        _, err = fleet.communicate(timeout=30)
    assert fleet.returncode == 0, err
    found = hpo.json("status", "both")["trials"]
    assert (found["complete"], found["failed"]) == (6, 0), err
    with opened(hpo) as storage:
        # The last two found no server to train on, and were given back.
        causes = [str(trial.cause) for trial in Control(storage.engine).trials("both") if trial.cause]
    assert causes == ["interrupted"] * 2


def test_a_broker_is_gone_with_its_command_and_so_is_every_trial(hpo: Command) -> None:
    make(hpo, "cut", 40)
    # Eight: each waits until those before it have put back their trials, half a second and more together.
    with started(hpo, "fleet", "up", "--workers", "8", TRIAL_SECONDS="60", **QUICK) as fleet:
        assert eventually(lambda: status_of(hpo, "cut")["trials"]["running"] == 8, 60)
        below = psutil.Process(fleet.pid).children(recursive=True)
        assert len(brokers_of(fleet.pid)) == 1
        fleet.kill()
        _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
    found = hpo.json("status", "cut")["trials"]
    assert (found["running"], found["waiting"]) == (0, 18)
