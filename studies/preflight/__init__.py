"""What is wrong with a study before its first trial: rules over its explicit values."""

from studies.preflight.changes import Change, Verdict, compare_with_baseline, in_yaml
from studies.preflight.checks import check
from studies.preflight.findings import Finding, Level
from studies.preflight.resolved import Model, Resolved, resolve, resolve_trial
from studies.preflight.rules import RULES, Rule

__all__ = [
    "RULES",
    "Change",
    "Finding",
    "Level",
    "Model",
    "Resolved",
    "Rule",
    "Verdict",
    "check",
    "compare_with_baseline",
    "in_yaml",
    "resolve",
    "resolve_trial",
]
