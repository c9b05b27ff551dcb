"""What somebody would otherwise write: a search by Optuna alone, over the space of Phase 1, with TPE."""

import threading
import time

import optuna
from no_training import smooth
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from hpo.fork_server import Channel

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Script:
    """An objective that waits, and notes when it began and ended."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.moments: list[tuple[float, float]] = []

    def __call__(self, trial: optuna.Trial) -> float:
        """Return a score."""
        params = {
            "budget": trial.suggest_categorical("budget", ["750k", "2M", "20M", "200M"]),
            "style": trial.suggest_categorical("style", ["shallow", "deep"]),
            "dropout": trial.suggest_float("dropout", 0.1, 0.7),
            "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 0.0, 1e-2),
        }
        began = time.time()
        time.sleep(self._seconds)
        self.moments.append((began, time.time()))
        return smooth(params)


def search(channel: Channel, url: str, cap: int) -> None:
    """Wait for a word, and search until so many trials are complete; called in a fork, many at once."""
    begin = threading.Event()
    channel.listen(lambda _word: begin.set(), begin.set)
    study = optuna.load_study(study_name="s", storage=url)
    channel.say("ready")
    begin.wait()
    study.optimize(Script(0.0), callbacks=[MaxTrialsCallback(cap, states=(TrialState.COMPLETE,))])
