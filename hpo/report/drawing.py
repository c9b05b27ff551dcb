"""Which figures a report has, in the order in which a reader wants them."""

from hpo.report.charts.coordinates import coordinates
from hpo.report.charts.cost import cost
from hpo.report.charts.curves import curves
from hpo.report.charts.effects import effects_chart
from hpo.report.charts.history import history
from hpo.report.charts.importances import importances_chart
from hpo.report.charts.resources import resources
from hpo.report.charts.sizes import rates_chart, sizes_chart
from hpo.report.charts.style import Chart
from hpo.report.charts.timeline import timeline
from hpo.report.findings import Findings


def draw(found: Findings) -> list[Chart]:
    """Return all figures, also those that there is nothing to draw for."""
    evidence = found.evidence
    return [
        history(evidence),
        sizes_chart(evidence, found.sizes),
        rates_chart(evidence, found.rates),
        effects_chart(found.effects),
        importances_chart(found.importances),
        cost(evidence),
        coordinates(evidence),
        curves(evidence),
        timeline(evidence),
        resources(evidence),
    ]
