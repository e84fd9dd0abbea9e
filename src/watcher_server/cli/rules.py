"""``watcher rules``: which rule suits a metric, and what a rule would have flagged; asked of a server by HTTP."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import httpx
from rich.table import Table

from watcher_server.cli.calling import call, json_of
from watcher_server.cli.errors import CommandError
from watcher_server.cli.terminal import console
from watcher_server.kit.terminal import typeable
from watcher_server.kit.text import escape_controls

_SHOWN = ("method", "seasonality", "lookback_days", "minimum_executions", "alarms_per_month")


def show_suggestion(pipeline_id: int, metric: str, url: str | None, token: str | None, *, as_json: bool) -> None:
    """Print the rule that suits the metric, and why.

    Raises:
        CommandError: no Watcher answers, or it knows no such pipeline.
    """
    found = _suggest(pipeline_id, metric, url, token)
    if as_json:
        _print(json.dumps(found, indent=2))
        return
    _print(found["why"])
    _print(", ".join(f"{name}: {found['rule'][name]}" for name in _SHOWN))


def show_preview(
    pipeline_id: int,
    metric: str,
    fields: Mapping[str, Any],
    days: int,
    *,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Print what a rule would have flagged, by its method and by each other; without fields, the one that suits.

    Raises:
        CommandError: no Watcher answers, it knows no such pipeline, or a field is wrong.
    """
    if not fields:
        found = _suggest(pipeline_id, metric, url, token)
        fields = found["rule"]
        if not as_json:
            _print(found["why"])
    body = {**fields, "pipeline_id": pipeline_id, "metric_field": metric, "days": days, "executions": 0}
    answer = call("POST", "/anomaly_detection_rule/preview", url, token, json=body)
    _refuse_wrong_field(answer)
    preview = json_of(answer, "methods")
    if as_json:
        _print(json.dumps(preview, indent=2))
        return
    _print(preview["sentence"])
    console().print(_table(preview["methods"]))


def _suggest(pipeline_id: int, metric: str, url: str | None, token: str | None) -> dict[str, Any]:
    answer = call("GET", f"/pipeline/{pipeline_id}/suggested_rule", url, token, params={"metric": metric})
    found: dict[str, Any] = json_of(answer, "why")
    return found


def _refuse_wrong_field(answer: httpx.Response) -> None:
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return
    wrong = answer.json()["detail"][0]
    raise CommandError(f"{wrong['loc'][-1]}: {wrong['msg']}.")


def _table(methods: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("Method", "Alerts", "Flagged", "Judged", "Beyond"):
        table.add_column(heading, justify="left" if heading == "Method" else "right")
    for method in methods:
        name = f"{method['method']}{' (chosen)' if method['chosen'] else ''}"
        numbers = (f"{method[key]:,}" for key in ("alerts", "flagged", "judged"))
        table.add_row(name, *numbers, f"±{method['threshold']:.1f}")
    return table


def _print(line: str) -> None:
    sys.stdout.write(f"{escape_controls(typeable(line), keep_layout=True)}\n")
