"""What the fork server has imported: little enough, and still everything for whoever wants it."""

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = "import sys, studies.preload\nassert not {'ray', 'scipy.signal', 'neuralforecast.core'} & set(sys.modules)\n"


def run(code: str, *arguments: str) -> str:
    """Run this in a process of its own after the preload; return what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", BEGIN + code, *arguments]
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


SCORED = """
import tempfile
from pathlib import Path
from studies import rehearsal
from studies.objective import TrialContext
spec = rehearsal.tiny_spec()
spec = spec.model_copy(update={"training": spec.training.model_copy(update={"max_steps": 6, "check_every": 2})})
directory = Path(tempfile.mkdtemp())
context = TrialContext(spec, number=0, attempt=1, seed=7, directory=directory, home=directory, threads=1)
before = set(sys.modules)
score = rehearsal.train({**rehearsal.TINY, "dropout": 0.4}, context, rehearsal.tiny_panel())
print(score, context.attributes["last_loss"], context.attributes["brier"])
"""


def test_a_training_scores_the_same_after_the_rehearsal_and_imports_nothing_more() -> None:
    rehearsed = run(SCORED + "print(sorted(set(sys.modules) - before))")
    alone = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import sys\n" + SCORED],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert rehearsed.splitlines() == [alone.strip(), "[]"]


def test_the_rehearsal_leaves_a_process_as_it_was(tmp_path: Path) -> None:
    code = """
import os, random, signal, tempfile
import numpy, torch
from studies import rehearsal
def state():
    drawn = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    n_threads = len(os.listdir("/proc/self/task")), torch.get_num_threads()
    return drawn, handlers, n_threads, dict(os.environ), os.listdir(sys.argv[1])
tempfile.tempdir = sys.argv[1]
torch.set_num_threads(3)
os.environ["PL_GLOBAL_SEED"] = "5"
os.environ.pop("PL_SEED_WORKERS", None)
before = state()
rehearsal.rehearse()
print(state() == before)
"""
    assert run(code, str(tmp_path)) == "True"


def test_a_rehearsal_that_fails_costs_the_fork_server_a_line_of_its_log(tmp_path: Path) -> None:
    code = """
import tempfile
from studies import rehearsal
tempfile.tempdir = sys.argv[1]
rehearsal.rehearse()
"""
    arguments = [sys.executable, "-W", "ignore", "-c", BEGIN + code, str(tmp_path / "nothing")]
    said = subprocess.run(arguments, check=True, stderr=subprocess.PIPE, text=True).stderr
    assert "the rehearsal failed, and trials begin more slowly: FileNotFoundError" in said
    assert said.count("\n") == 1
