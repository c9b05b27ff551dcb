"""A worker without processes for trials: it takes, calls the objective itself, and writes down the end."""

import threading

from no_training import smooth

from hpo.claims import Claims
from hpo.control import Control
from hpo.fork_server import Channel
from hpo.presence import this_worker
from hpo.records import Outcome
from hpo.settings import Settings
from hpo.storage import open_storage
from hpo.strategies import warm_up


def work(channel: Channel, url: str, settings: Settings) -> None:
    """Wait for a word, and take trials of the study until it gives no more; called in a fork, many at once."""
    begin = threading.Event()
    channel.listen(lambda _word: begin.set(), begin.set)
    with open_storage(settings, url) as storage:
        control, me = Control(storage.engine), this_worker()
        control.register(me)
        study = control.study("s")
        assert study is not None
        claims = Claims(storage, study, lambda _: False, settings.home)
        warm_up()
        channel.say("ready")
        begin.wait()
        while claim := claims.take(me.id):
            claims.write_end(claim.trial, Outcome(None, score=smooth(claim.params)))
            claims.publish(claim.trial.number)
        control.unregister(me.id)
