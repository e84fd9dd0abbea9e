"""The expressions of deploy/, and when one of them has its data."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from tests.deploy.tools import DEPLOY

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))

# Grafana puts these in before it asks.
_VARIABLES = {"$__rate_interval": "1m", "$name": ".*", "$queue": ".*"}
# Strings and label matchers are stepped over: the signs in them compare labels, not values.
_COMPARISON = re.compile(r"""("[^"]*"|\{[^}]*\})|(==|!=|>=|<=|>|<)""")


@dataclass(frozen=True)
class Expression:
    """A question to Prometheus, and where it stands."""

    place: str
    query: str


def alert_rules() -> list[dict[str, Any]]:
    """All rules, in order."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, dict[str, Any]]]:
    """Every panel of every dashboard, with its place."""
    found = []
    for file in DASHBOARDS:
        found += [(f"{file.name}: {panel['title']}", panel) for panel in json.loads(file.read_text())["panels"]]
    return found


def alert_expressions() -> list[Expression]:
    """What the rules ask, made to answer also while nothing is wrong."""
    return [Expression(rule["alert"], answer_also_without_fault(rule["expr"])) for rule in alert_rules()]


def answer_also_without_fault(query: str) -> str:
    """The query of a rule with ``bool`` at each comparison.

    A rule that finds nothing wrong returns nothing, and so does one whose metric does not exist. With ``bool`` a
    comparison returns 0 or 1 for each series in place of keeping or dropping it: nothing then means that a metric of
    the rule, or a label by which it joins two, is missing.
    """
    return _COMPARISON.sub(lambda found: found[1] or f"{found[2]} bool", query)


def dashboard_expressions() -> list[Expression]:
    """What the panels ask."""
    expressions = []
    for place, panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in _VARIABLES.items():
                query = query.replace(variable, value)
            expressions.append(Expression(f"{place} {target['refId']}", query))
    return expressions


def has_data(prometheus_url: str, expression: Expression) -> bool:
    """Whether Prometheus answers with a number; one that it cannot read is an error."""
    answer = httpx.get(f"{prometheus_url}/api/v1/query", params={"query": expression.query}, timeout=10)
    assert answer.status_code == 200, f"{expression.place}: {answer.text}"
    result = answer.json()["data"]["result"]
    return any(not math.isnan(float(series["value"][1])) for series in result)
