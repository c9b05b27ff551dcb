"""The numbers of `hpo status` for Prometheus."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hpo.alerts import AlertKind, newest_vitals
from hpo.dashboard import Listener
from hpo.errors import StorageError
from hpo.monitor import Status
from hpo.records import StudyState
from hpo.service import Service, is_untouched, open_service
from hpo.settings import Settings
from hpo.storage import database_away

_TRIAL_STATES = ("complete", "running", "waiting", "pruned", "failed", "replaced")
_OF_WORKERS = {
    "memory_mb": "memory of the worker's process, proportional",
    "own_memory_mb": "memory of the worker's process that it shares with nobody",
    "trial_memory_mb": "memory of its trial's process, proportional",
    "trial_gpu_mb": "GPU memory of its trial's process",
    "disk_free": "share of the disk of HPO_HOME that is free",
}


_NO_STUDY = "no study yet: `hpo run quickstart` makes one"


class StudyCollector(Collector):
    """Asks the database when it is asked; without a service there is none to ask."""

    def __init__(self, service: Service | None) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all studies; only `hpo_up` while the database is away."""
        found = self._look()
        yield GaugeMetricFamily("hpo_up", "whether the database answers", value=found is not None)
        if found is not None:
            yield from (*_of_studies(found), *_of_workers(found), *_of_cards(found))

    def _look(self) -> list[Status] | None:
        if self._service is None:
            return None
        try:
            return [self._service.status(name) for name in self._service.control.study_names()]
        except database_away():
            return None


def metrics_text(settings: Settings, storage_url: str | None) -> str:
    """Return the metrics in Prometheus's text format; an embedded server that was never used is not made for that."""
    if is_untouched(settings, storage_url):
        print(_NO_STUDY, file=sys.stderr)  # noqa: T201
        return generate_latest(_registry(None)).decode()
    with open_service(settings, storage_url) as service:
        return generate_latest(_registry(service)).decode()


def serve(settings: Settings, storage_url: str | None, listener: Listener, *, as_json: bool) -> int:
    """Serve the metrics until SIGTERM or Ctrl-C; return the exit code.

    Raises:
        StorageError: there is no study yet.
    """
    from waitress.server import create_server

    if is_untouched(settings, storage_url):
        raise StorageError(_NO_STUDY)
    with open_service(settings, storage_url) as service, _leaving_on_sigterm():
        server = create_server(make_wsgi_app(_registry(service)), sockets=[listener.socket], ident=None)
        url = f"{listener.url}/metrics"
        if as_json:
            print(json.dumps({"url": url}), flush=True)  # noqa: T201
        print(f"metrics on {url}; Ctrl-C ends it", file=sys.stderr, flush=True)  # noqa: T201
        # Waitress ends its loop on both and returns.
        with suppress(KeyboardInterrupt, SystemExit):
            server.run()
    return 0


@contextmanager
def _leaving_on_sigterm() -> Iterator[None]:
    def leave(*_: object) -> None:
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _registry(service: Service | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StudyCollector(service))
    return registry


def _of_studies(found: list[Status]) -> Iterator[Metric]:
    trials = GaugeMetricFamily("hpo_trials", "trials by state", labels=["study", "state"])
    cap = GaugeMetricFamily("hpo_trials_cap", "most trials of the study", labels=["study"])
    open_ = GaugeMetricFamily("hpo_study_running", "whether the study gives out trials", labels=["study", "phase"])
    best = GaugeMetricFamily("hpo_best_score", "best score", labels=["study"])
    rate = GaugeMetricFamily("hpo_trials_per_hour", "trials ended over the last hour", labels=["study"])
    eta = GaugeMetricFamily("hpo_eta_seconds", "time to go until the cap is used", labels=["study"])
    alerts = GaugeMetricFamily("hpo_alerts", "what needs a person, by kind", labels=["study", "kind"])
    state_of = GaugeMetricFamily("hpo_study_state", "1 for the state that the study is in", labels=["study", "state"])
    for status in found:
        name = status.study.name
        for state in _TRIAL_STATES:
            trials.add_metric([name, state], getattr(status.counts, state))
        cap.add_metric([name], status.counts.cap)
        open_.add_metric([name, str(status.study.phase)], status.study.state is StudyState.RUNNING)
        for each in StudyState:
            state_of.add_metric([name, each.value], status.study.state is each)
        # A kind without an alert is 0 and not absent, so that a rule sees an alert end.
        for kind in AlertKind:
            alerts.add_metric([name, kind.value], sum(alert.kind is kind for alert in status.alerts))
        optional = (
            (best, status.best.score if status.best else None),
            (rate, status.trials_per_hour),
            (eta, status.eta_seconds),
        )
        for family, value in optional:
            if value is not None:
                family.add_metric([name], value)
    yield from (trials, cap, open_, state_of, best, rate, eta, alerts)


def _of_workers(found: list[Status]) -> Iterator[Metric]:
    workers = {worker.id: worker for status in found for worker in status.workers}
    beat = GaugeMetricFamily("hpo_worker_silent_seconds", "since the last beat", labels=["worker", "host"])
    busy = GaugeMetricFamily("hpo_worker_busy", "whether it has a trial", labels=["worker", "host"])
    families = {
        key: GaugeMetricFamily(f"hpo_worker_{key}", what, labels=["worker", "host"])
        for key, what in _OF_WORKERS.items()
    }
    for worker in workers.values():
        labels = [worker.id, worker.host]
        beat.add_metric(labels, worker.silent_seconds)
        busy.add_metric(labels, worker.trial is not None)
        for key, family in families.items():
            if worker.vitals.get(key) is not None:
                family.add_metric(labels, worker.vitals[key])
    yield from (beat, busy, *families.values())


def _of_cards(found: list[Status]) -> Iterator[Metric]:
    """Yield the memory of each GPU, as the newest beat of its machine had it."""
    labels = ["host", "gpu", "name"]
    used = GaugeMetricFamily("hpo_gpu_memory_used_mb", "memory of the card in use, by whatever program", labels=labels)
    total = GaugeMetricFamily("hpo_gpu_memory_total_mb", "memory of the card", labels=labels)
    for host, vitals in newest_vitals([worker for status in found for worker in status.workers]).items():
        for number, card in enumerate(vitals.get("gpus") or ()):
            used.add_metric([host, str(number), card["name"]], card["used_mb"])
            total.add_metric([host, str(number), card["name"]], card["total_mb"])
    yield from (used, total)
