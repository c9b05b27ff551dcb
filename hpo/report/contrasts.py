"""What a study has put side by side on purpose: designs that differ from the default in one parameter.

Nothing here knows what the parameters mean. The default is what most designs of a budget agree on, parameter by
parameter; a design that differs from it in exactly one is an extreme of that parameter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report.additive import BUDGET
from hpo.report.evidence import Evidence, Trial, hashable

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Design:
    """A configuration that was trained whatever the sampler thought of it."""

    name: str
    group: str
    budget: str | None
    params: Params


@dataclass(frozen=True)
class Contrast:
    """One value of a parameter against its default.

    Attributes:
        name: of the design, or of the parameter and its value where it is over all budgets.
        budget: None for all of them.
        pairs: at each budget the configuration with the value, and the default.
        words: value, parameter and default, such as `dropout 0.1` and `0.5`.
    """

    name: str
    group: str
    budget: str | None
    parameter: str
    words: tuple[str, str]
    pairs: tuple[tuple[str | None, Params, Params], ...]

    @property
    def text(self) -> str:
        """What is compared, in words."""
        return f"{self.words[0]} against {self.words[1]}{self.where}"

    @property
    def where(self) -> str:
        """At which budget, in words; empty where there is but one."""
        if self.budget is not None:
            return f" at {self.budget}"
        return " over all budgets" if len({budget for budget, _, _ in self.pairs} - {None}) > 1 else ""


def designs_of(evidence: Evidence) -> tuple[Design, ...]:
    """Return the designs of a study, whether or not they have a score, in the order of their trials."""
    found: dict[str, Design] = {}
    for trial in evidence.trials:
        name, group = trial.attributes.get("design"), trial.attributes.get("group")
        if name and group and trial.params:
            found.setdefault(str(name), Design(str(name), str(group), trial.budget, trial.params))
    return tuple(found.values())


def contrasts_of(designs: Sequence[Design], trials: Sequence[Trial]) -> tuple[Contrast, ...]:
    """Return the contrasts of each budget, and those over all budgets where there are several."""
    budgets = list(dict.fromkeys(design.budget for design in designs))
    single = [each for budget in budgets for each in _at(budget, [d for d in designs if d.budget == budget])]
    if len(budgets) < 2:
        return tuple(single)
    searched = [budget for budget in budgets if any(t.budget == budget and t.score is not None for t in trials)]
    return (*single, *_over_all(designs, single, searched))


def _at(budget: str | None, designs: Sequence[Design]) -> Iterable[Contrast]:
    default = _default(designs)
    for design in designs:
        changed = [name for name in default if design.params.get(name) != default[name]]
        if len(changed) == 1:
            yield Contrast(
                name=design.name,
                group=design.group,
                budget=budget,
                parameter=changed[0],
                words=_words(changed[0], design.params[changed[0]], default[changed[0]]),
                pairs=((budget, design.params, default),),
            )


def _over_all(
    designs: Sequence[Design], single: Sequence[Contrast], budgets: Sequence[str | None]
) -> Iterable[Contrast]:
    default, seen = _default(designs), set()
    for contrast in single:
        _, extreme, local = contrast.pairs[0]
        parameter = contrast.parameter
        key = (parameter, hashable(extreme[parameter]))
        if key in seen or local[parameter] != default[parameter]:
            continue
        seen.add(key)
        extreme = {**default, parameter: extreme[parameter]}
        pairs = ((at, _moved(extreme, at), _moved(default, at)) for at in budgets)
        yield Contrast(
            name=contrast.words[0].replace(" ", "="),
            group=contrast.group,
            budget=None,
            parameter=parameter,
            words=contrast.words,
            pairs=tuple(pairs),
        )


def _moved(params: Params, budget: str | None) -> Params:
    return {**params, BUDGET: budget} if BUDGET in params else params


def _default(designs: Sequence[Design]) -> dict[str, Any]:
    """Return what most of them agree on; between equals the first decides."""
    names = dict.fromkeys(name for design in designs for name in design.params)
    values = {name: [design.params[name] for design in designs if name in design.params] for name in names}
    most = {name: Counter(map(hashable, found)).most_common(1)[0][0] for name, found in values.items()}
    return {name: next(value for value in values[name] if hashable(value) == most[name]) for name in values}


def _words(parameter: str, value: Any, default: Any) -> tuple[str, str]:  # noqa: ANN401  any value of a parameter
    """Return parameter and value, and the default; what was searched as a logarithm is said as what it is."""
    if parameter.endswith("_log2") and isinstance(value, int) and isinstance(default, int):
        parameter, value, default = parameter.removesuffix("_log2"), 1 << value, 1 << default
    return f"{parameter} {_shown(value)}", _shown(default)


def _shown(value: Any) -> str:  # noqa: ANN401  any value of a parameter
    return f"{value:g}" if isinstance(value, float) else str(value)
