"""What the fork server has imported: little enough, and still everything for whoever wants it."""

import subprocess
import sys
from pathlib import Path

import pytest

from studies.rehearsal import can_rehearse

BEGIN = "import sys, studies.preload\nassert not {'ray', 'scipy.signal', 'neuralforecast.core'} & set(sys.modules)\n"


def run(code: str, *arguments: str, begin: str = BEGIN) -> str:
    """Run this in a process of its own after the preload; return what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", begin + code, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        (
            "import neuralforecast as n\nprint(n.__version__[0], hasattr(n, '__nothing__'))",
            "3 False",
        ),
        ("from neuralforecast import NeuralForecast\nprint(NeuralForecast.__name__)", "NeuralForecast"),
        ("from neuralforecast.auto import AutoiTransformer\nprint(AutoiTransformer.__name__)", "AutoiTransformer"),
        ("from neuralforecast.models import NHITS\nprint(NHITS.__name__)", "NHITS"),
        ("from neuralforecast.models import *\nprint(iTransformer.__module__)", "neuralforecast.models.itransformer"),
        ("import scipy.signal\nprint(scipy.signal.windows.hamming(1))", "[1.]"),
        ("from scipy import signal\nprint(signal.windows.hamming(1))", "[1.]"),
    ],
)
def test_what_was_left_out_is_there_for_an_objective_that_wants_it(code: str, printed: str) -> None:
    assert run(code) == printed


def test_no_family_imports_more_of_neuralforecast_while_it_trains() -> None:
    code = """
import torch
from budgets import Architecture
from studies.families import FAMILIES, WindowShape
before = set(sys.modules)
for family in FAMILIES.values():
    family.build(Architecture(32, 2, 8), WindowShape(80, 1, 2, 0 if family is FAMILIES["patchtst"] else 3), 0.1, 1)
print(sorted(set(sys.modules) - before))
"""
    assert run(code) == "[]"


needs_rehearsal = pytest.mark.skipif(
    not can_rehearse(), reason="torch is built for a card here, and the fork server rehearses nothing"
)
# The modules of the fork server, before the rehearsal.
UNREHEARSED = """
import sys, types
sys.modules["studies.rehearsal"] = types.SimpleNamespace(rehearse=lambda: None)
import studies.preload
del sys.modules["studies.rehearsal"]
"""
SCORED = """
from pathlib import Path
from studies import rehearsal
from studies.objective import TrialContext
spec = rehearsal.tiny_spec()
spec = spec.model_copy(update={"training": spec.training.model_copy(update={"max_steps": 6, "check_every": 2})})
context = TrialContext(spec, 0, 1, 7, Path(sys.argv[1]), Path(sys.argv[1]), threads=1)
before = set(sys.modules)
score = rehearsal.train({**rehearsal.TINY, "dropout": 0.4}, context, rehearsal.tiny_panel())
print(score, context.attributes["last_loss"], context.attributes["brier"], sorted(set(sys.modules) - before))
"""
STATE = """
import os, random, signal, tempfile
import numpy, torch
from studies import rehearsal, training
def state():
    drawn = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    n_threads = len(os.listdir("/proc/self/task")), torch.get_num_threads()
    return drawn, handlers, n_threads, dict(os.environ), os.listdir(tempfile.gettempdir())
tempfile.tempdir = sys.argv[1]
# As the server has them.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda number, frame: None)
torch.set_num_threads(3)
os.environ["PL_GLOBAL_SEED"] = "5"
before = state()
"""


@needs_rehearsal
def test_a_training_scores_the_same_after_the_rehearsal_and_imports_nothing_more(tmp_path: Path) -> None:
    alone = run(SCORED, str(tmp_path / "alone"), begin=UNREHEARSED)
    assert "torch" in alone
    assert run(SCORED, str(tmp_path / "rehearsed")) == alone.split("[")[0] + "[]"


@needs_rehearsal
@pytest.mark.parametrize(
    "failing",
    [
        "",
        "def fail(*_): raise RuntimeError\ntraining.WindowClassifier.on_train_start = fail",
        "def stop(*_): os.kill(os.getpid(), signal.SIGTERM)\ntraining.ValidationWatch.on_train_start = stop",
    ],
    ids=["it works", "it fails", "the server is told to end"],
)
def test_the_rehearsal_leaves_a_process_as_it_was(tmp_path: Path, failing: str) -> None:
    code = f"{STATE}{failing}\nrehearsal.rehearse()\nprint(state() == before)"
    assert run(code, str(tmp_path), begin=UNREHEARSED) == "True"


@needs_rehearsal
def test_a_rehearsal_that_fails_says_so_in_one_line(tmp_path: Path) -> None:
    code = f"{UNREHEARSED}{STATE}tempfile.tempdir = '/nothing'\nrehearsal.rehearse()"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    said = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    assert said.startswith("the rehearsal failed, and trials begin more slowly: FileNotFoundError")
    assert said.count("\n") == 1
