"""The numbers of `hpo status` for Prometheus."""

import json
import sys
import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from budgets.errors import InputError
from hpo.monitor import Status
from hpo.records import StudyState
from hpo.service import Service, open_service
from hpo.settings import Settings
from hpo.stopping import obeying_signals
from hpo.worker import DATABASE_AWAY

_TRIAL_STATES = ("complete", "running", "waiting", "pruned", "failed", "replaced")
_OF_WORKERS = {
    "memory_mb": "memory of the worker's process, proportional",
    "trial_memory_mb": "memory of its trial's process, proportional",
    "trial_gpu_mb": "GPU memory of its trial's process",
    "disk_free": "share of the disk of HPO_HOME that is free",
}


class StudyCollector(Collector):
    """Asks the database when it is asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all studies; only `hpo_up` while the database is away."""
        try:
            found = [self._service.status(name) for name in self._service.control.study_names()]
        except DATABASE_AWAY:
            yield GaugeMetricFamily("hpo_up", "whether the database answers", value=0)
            return
        yield GaugeMetricFamily("hpo_up", "whether the database answers", value=1)
        yield from _of_studies(found)
        yield from _of_workers(found)


def metrics_text(settings: Settings, storage_url: str | None) -> str:
    """Return the metrics in Prometheus's text format."""
    with open_service(settings, storage_url) as service:
        return generate_latest(_registry(service)).decode()


def serve(settings: Settings, storage_url: str | None, host: str, port: int, *, as_json: bool) -> int:
    """Serve the metrics until SIGTERM or Ctrl-C; return the exit code.

    Raises:
        InputError: nothing can listen on that address.
    """
    ended = threading.Event()
    with open_service(settings, storage_url) as service, obeying_signals(ended.set):
        try:
            server, thread = start_http_server(port, host, _registry(service))
        except OSError as error:
            raise InputError(
                f"--port must be free on {host}, and {port} is not ({error.strerror}): name another"
            ) from None
        url = f"http://{host}:{server.server_port}/metrics"
        if as_json:
            print(json.dumps({"url": url}), flush=True)  # noqa: T201
        print(f"metrics on {url}; Ctrl-C ends it", file=sys.stderr, flush=True)  # noqa: T201
        ended.wait()
        server.shutdown()
        thread.join()
    return 0


def _registry(service: Service) -> CollectorRegistry:
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
    alerts = GaugeMetricFamily("hpo_alerts", "what needs a person", labels=["study"])
    for status in found:
        name = status.study.name
        for state in _TRIAL_STATES:
            trials.add_metric([name, state], getattr(status.counts, state))
        cap.add_metric([name], status.counts.cap)
        open_.add_metric([name, str(status.study.phase)], status.study.state is StudyState.RUNNING)
        alerts.add_metric([name], len(status.alerts))
        optional = (
            (best, status.best.score if status.best else None),
            (rate, status.trials_per_hour),
            (eta, status.eta_seconds),
        )
        for family, value in optional:
            if value is not None:
                family.add_metric([name], value)
    yield from (trials, cap, open_, best, rate, eta, alerts)


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
