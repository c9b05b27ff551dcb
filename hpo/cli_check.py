"""`hpo check`: a study is looked at before its first trial."""

from typing import Annotated

from cyclopts import Parameter

from budgets.errors import InputError
from hpo.output import Json, Storage, complain, count, print_json

Flag = Annotated[bool, Parameter(negative="")]


def check(
    study: str | None = None,
    /,
    *,
    baseline: str | None = None,
    strict: Flag = False,
    explain: str | None = None,
    storage: Storage = None,
    json_output: Json = False,
) -> int:
    """Print everything that a study will do with every value explicit, and what the rules say to it.

    Nothing is written. `hpo run` looks at the same rules first, and refuses a study with an error.

    hpo check quickstart
    hpo check my-study.yaml --baseline quickstart#7 --strict
    hpo check --explain batch-minimum

    Args:
        study: A built-in study or a YAML file.
        baseline: What it is compared with: a built-in study, a YAML file, or STUDY#TRIAL of the storage.
        strict: Warnings count as errors.
        explain: Print this rule, with its table and its source, or `all`.
    """
    if explain is not None:
        for flag, is_given in (("--baseline", baseline is not None), ("--strict", strict)):
            if is_given:
                raise InputError(f"--explain prints a rule and looks at no study, with {flag}: leave one of them out")
        return _explain(explain, as_json=json_output)
    if study is None:
        raise InputError("hpo check needs a STUDY, and none was given: name one, or a rule with --explain")
    from hpo.check_view import print_preflight
    from hpo.preflight import examine
    from hpo.run_view import RunView
    from hpo.settings import load_settings
    from studies.reading import read_spec

    view = RunView(quiet=json_output)
    found = examine(read_spec(study), load_settings(), storage, baseline, view.working)
    print_json(found.as_json(strict=strict)) if json_output else print_preflight(found)
    if not found.blocks(strict=strict):
        return 0
    counted = len([finding for finding in found.findings if finding.level.value in {"error", "warning"}])
    named = "finding" if strict else "error"
    blocking = counted if strict else sum(finding.level.value == "error" for finding in found.findings)
    complain(f"{found.study.name} is not to be run as it is: {count(blocking, named)}, each with its remedy above")
    return 2


def _explain(name: str, *, as_json: bool) -> int:
    from dataclasses import asdict

    from hpo.check_view import print_rules
    from studies.preflight import RULES

    if name not in {*RULES, "all"}:
        raise InputError(f"--explain takes a rule or all, not {name!r}: the rules are {', '.join(RULES)}")
    rules = list(RULES.values()) if name == "all" else [RULES[name]]
    print_json({"rules": [asdict(rule) for rule in rules]}) if as_json else print_rules(rules)
    return 0
