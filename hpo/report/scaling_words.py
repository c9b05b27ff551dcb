"""What size brings, in sentences for somebody who distrusts lucky scores."""

from typing import Final

from hpo.report.size_findings import HoldOut, SizeFinding, SizeFindings, Verdict
from hpo.report.size_groups import format_size
from hpo.report.size_tests import LEVEL

AHEAD: Final = 10.0
"""How many times the largest size the sentence on what is to come looks ahead."""


def describe(findings: SizeFindings, size_name: str = "parameters") -> tuple[str, ...]:
    """Return the sentences, the verdict first."""
    lines = [_verdict(findings), *_middle(findings)]
    if findings.compared:
        lines.append(_comparison(findings))
    lines += [*_set_aside(findings), *_noise(findings)]
    if findings.law:
        lines += [*_law(findings, size_name), *_hold_out(findings.hold_out)]
    return tuple(lines)


def _verdict(findings: SizeFindings) -> str:
    compared = findings.compared
    if len(compared) < 2:
        return f"Nothing can be said of size: {_count(len(compared), 'size has', 'sizes have')} the 3 trials needed."
    if len(compared) < 3:
        return f"Two sizes make no law: {_difference(findings)}."
    if findings.verdict in {Verdict.U_SHAPED, Verdict.MIDDLE_BEST}:
        return _shape(findings)
    span = f"from {compared[0].label} to {compared[-1].label}"
    if findings.verdict is Verdict.FLAT and findings.noise and _significant(findings):
        noise = _number(findings.noise)
        return f"Size hardly matters {span}: the sizes differ, yet by less than the noise of {noise} between seeds."
    said = {
        Verdict.IMPROVES: f"Larger is better {span}",
        Verdict.WORSENS: f"Larger is worse {span}",
        Verdict.FLAT: f"Size does not matter {span}, as far as can be seen",
        Verdict.NOT_IDENTIFIABLE: "The trials are too few to say whether size matters",
    }[findings.verdict]
    return f"{said}: {_difference(findings)}."


def _shape(findings: SizeFindings) -> str:
    label = _middle_size(findings).label
    if findings.verdict is Verdict.U_SHAPED:
        return f"Middle trap: {label} is worse than a smaller and a larger size."
    return f"The middle is best: {label} is better than a smaller and a larger size."


def _difference(findings: SizeFindings) -> str:
    gain, tests = findings.gain, findings.tests
    assert gain is not None
    assert tests is not None
    last, first = findings.compared[-1].label, findings.compared[0].label
    chance = min(tests.falling, tests.rising)
    word, ends = ("better", (gain.low, gain.high)) if gain.value >= 0 else ("worse", (-gain.high, -gain.low))
    return (
        f"the best of {findings.common_draws} at {last} is {word} than at {first} by {_number(abs(gain.value))} "
        f"(95 % interval {_number(ends[0])} to {_number(ends[1])}), and a trend as clear comes about by chance in "
        f"{_percent(chance)} of studies where size means nothing"
    )


def _middle(findings: SizeFindings) -> list[str]:
    tests = findings.tests
    if findings.verdict not in {Verdict.U_SHAPED, Verdict.MIDDLE_BEST} or tests is None:
        return []
    chance = tests.trap if findings.verdict is Verdict.U_SHAPED else tests.peak
    lines = [f"A shape as clear comes about by chance in {_percent(chance)} of studies where size means nothing."]
    if min(tests.falling, tests.rising) <= LEVEL:
        lines.append(f"Over all sizes there is a trend as well: {_difference(findings)}.")
    return [*lines, "No law that only rises or only falls describes this, so none is fitted."]


def _comparison(findings: SizeFindings) -> str:
    each = ", ".join(f"{size.label} {_number(size.expected_best)} (n = {size.n})" for size in findings.compared)
    return (
        f"Expected best of {findings.common_draws} trials, the same number at every size: {each}. The best score seen "
        "at a size is luckier the more trials it has had, so it is not compared."
    )


def _set_aside(findings: SizeFindings) -> list[str]:
    left = [f"{size.label} (n = {size.n})" for size in findings.sizes if not size.compared]
    return [f"Not compared, with fewer than 3 trials: {', '.join(left)}."] if left else []


def _noise(findings: SizeFindings) -> list[str]:
    if not findings.compared:
        return []
    if findings.noise is None:
        return ["The noise between seeds is unknown: how much of a difference another seed would undo can't be said."]
    gain = findings.gain
    if gain is None:
        return []
    times = f"{abs(gain.value) / findings.noise:.1f} times " if findings.noise > 0 else ""
    return [f"The difference between the smallest and the largest size is {times}the noise between seeds."] * bool(
        times
    )


def _law(findings: SizeFindings, size_name: str) -> list[str]:
    law, scale = findings.law, findings.scale
    assert law is not None
    low, high = law.exponent_interval
    lines = [
        f"Loss = {_number(law.best.floor)} + {_number(law.best.amplitude)}·N^−{_number(law.best.exponent)} fits best, "
        f"N being {size_name} and the loss {_loss(findings)}; the exponent is between {_number(low)} and "
        f"{_number(high)}, whatever the floor is.",
        f"The floor is not identifiable from sizes as small as these: any from {_number(law.allowed_floors[0])} to "
        f"{_number(law.allowed_floors[1])} fits about as well, and they part only beyond the largest. So the interval "
        "of a prediction is the bracket over the floor, from 0 on, joined with the bootstrap.",
    ]
    ahead = AHEAD * findings.compared[-1].size
    curve = findings.expects([ahead])
    assert curve is not None
    lines.append(
        f"At {format_size(ahead)} {size_name}, {AHEAD:.0f} times the largest, the best of "
        f"{findings.common_draws} is expected at {_number(curve.central[0])}, between {_number(curve.low[0])} and "
        f"{_number(curve.high[0])}, if the same law goes on."
    )
    if not scale.natural:
        lines.append("The score has no best possible value, so the limit of what size brings is open.")
    return lines


def _loss(findings: SizeFindings) -> str:
    scale = findings.scale
    name = "the score" if scale.sign > 0 else "the negative score"
    if scale.sign < 0 and scale.natural:
        return f"{_number(scale.offset)} − score"
    return name if scale.offset == 0 else f"{name} {'+' if scale.offset > 0 else '−'} {_number(abs(scale.offset))}"


def _hold_out(found: HoldOut | None) -> list[str]:
    if found is None:
        return []
    relative = "" if found.relative is None else f" ({100 * found.relative:+.1f} % of the loss)"
    caution = " Two sizes leave the floor open, so that interval is wide." if found.fitted < 3 else ""
    return [
        f"Check: fitted without {found.label}, the law expects {_number(found.predicted)} there, between "
        f"{_number(found.low)} and {_number(found.high)}; seen was {_number(found.observed)}, off by "
        f"{_number(found.error)}{relative} and {'inside' if found.inside else 'outside'} the interval.{caution}"
    ]


def _significant(findings: SizeFindings) -> bool:
    tests = findings.tests
    return tests is not None and min(tests.falling, tests.rising, tests.trap, tests.peak) <= LEVEL


def _middle_size(findings: SizeFindings) -> SizeFinding:
    tests = findings.tests
    assert tests is not None
    index = tests.trap_index if findings.verdict is Verdict.U_SHAPED else tests.peak_index
    assert index is not None
    return findings.compared[index]


def _count(count: int, one: str, more: str) -> str:
    return f"{count or 'no'} {one if count <= 1 else more}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
