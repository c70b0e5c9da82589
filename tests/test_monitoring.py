"""deploy/grafana and deploy/prometheus ask for metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from ruamel.yaml import YAML

from router.breaker import BreakerState

ROOT = Path(__file__).parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "pointsman.json").read_text())
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
#: Labels that Prometheus adds.
_ADDED = {"instance", "job", "le"}
#: Metrics that others bring: Prometheus itself, and prometheus_client of the process.
_OTHERS = {"up": set[str](), "process_cpu_seconds_total": set[str]()}


def documented() -> dict[str, set[str]]:
    """The table of docs/operations.md, which tests/router/test_metrics.py holds against the metrics that there are."""
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(pointsman_\w+)` \|([^|]*)\|", text, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


KNOWN = documented() | _OTHERS


def family(name: str) -> str:
    """Without what a histogram adds."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in KNOWN else name


def rules() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = YAML(typ="safe").load(RULES.read_text())["groups"][0]["rules"]
    return loaded


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"panel: {panel['title']} {target['refId']}", target["expr"]
    for rule in rules():
        yield f"alert: {rule['alert']}", rule["expr"]


QUERIES = list(queries())


def parsed(expr: str) -> promql_parser.Expr:
    return promql_parser.parse(expr.replace("$__rate_interval", "5m").replace("$__range", "1h"))


def selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "vector_selector", "lhs", "rhs"):
        if (child := getattr(node, name, None)) is not None:
            yield from selectors(child)
    for child in getattr(node, "args", None) or []:
        yield from selectors(child)


def grouped(node: Any) -> Iterator[str]:
    """Labels that are summed by."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        yield from node.modifier.labels
    for name in ("expr", "lhs", "rhs"):
        if (child := getattr(node, name, None)) is not None:
            yield from grouped(child)
    for child in getattr(node, "args", None) or []:
        yield from grouped(child)


@pytest.mark.parametrize(("where", "expr"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_asks_for_what_there_is(where: str, expr: str) -> None:
    query = parsed(expr)
    found = list(selectors(query))
    assert found, "a query that reads nothing"
    labels: set[str] = set()
    for selector in found:
        assert family(selector.name) in KNOWN, f"there is no metric {selector.name}"
        has = KNOWN[family(selector.name)] | _ADDED
        assert {each.name for each in selector.matchers.matchers} <= has | {"__name__"}
        labels |= has
    assert set(grouped(query)) <= labels


def test_a_wrong_name_or_label_would_be_found() -> None:
    """The checks above can fail: they see names, matchers and groupings inside functions and arithmetic."""
    query = parsed('sum by (colour) (rate(pointsman_nothing{shape="round"}[5m])) / vector(2)')
    (selector,) = selectors(query)
    assert selector.name == "pointsman_nothing"
    assert [each.name for each in selector.matchers.matchers] == ["shape"]
    assert list(grouped(query)) == ["colour"]


def test_every_metric_is_on_the_dashboard() -> None:
    panels = [parsed(expr) for where, expr in QUERIES if where.startswith("panel")]
    shown = {family(each.name) for query in panels for each in selectors(query)}
    assert set(documented()) - shown == set(), "give it a panel in deploy/grafana/pointsman.json"


def test_the_legends_name_labels_that_the_query_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            legend = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
            assert legend <= set(grouped(parsed(target["expr"]))), panel["title"]


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = set(grouped(parsed(rule["expr"])))
        assert used <= (kept or _ADDED), rule["alert"]


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("state", [state for state in BreakerState if state is not BreakerState.CLOSED])
def test_a_sender_that_is_being_tried_is_still_stopped(state: BreakerState) -> None:
    """Each probe makes a breaker half-open: what asks for `open` alone begins its five minutes anew, for ever."""
    asked = [each for _, expr in QUERIES for each in selectors(parsed(expr)) if each.name == "pointsman_sender_breaker"]
    assert len(asked) >= 3
    assert [each for each in asked if not _matches(each, "state", state)] == []


def _matches(selector: Any, label: str, value: str) -> bool:
    found = [each for each in selector.matchers.matchers if each.name == label]
    assert all(each.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual) for each in found)
    return all((each.value == value) is (each.op == promql_parser.MatchOp.Equal) for each in found)


#: What Prometheus has seen, a value a minute, and the alerts of this name that it raises at the minute.
FIRING: list[tuple[str, dict[str, str], int, str, list[dict[str, Any]]]] = [
    (
        "a sender that stays stopped while it is tried",
        {
            'pointsman_sender_breaker{sender="us",state="open"}': "0 1 0 1 1 0 1 1 0 1",
            'pointsman_sender_breaker{sender="us",state="half-open"}': "0 0 1 0 0 1 0 0 1 0",
            'pointsman_sender_breaker{sender="us",state="closed"}': "1 0 0 0 0 0 0 0 0 0",
        },
        8,
        "PointsmanSenderStopped",
        [{"sender": "us", "severity": "page"}],
    ),
    (
        "a sender that works again",
        {
            'pointsman_sender_breaker{sender="us",state="open"}': "0 1 0 0 0 0 0 0 0 0",
            'pointsman_sender_breaker{sender="us",state="half-open"}': "0x9",
        },
        8,
        "PointsmanSenderStopped",
        [],
    ),
    (
        "the only router, stopped, is no target any more",
        {'up{job="pointsman",instance="a"}': "1 1 1 stale"},
        6,
        "PointsmanNoneUp",
        [{"severity": "page"}],
    ),
    ("a router that answers", {'up{job="pointsman",instance="a"}': "1x9"}, 6, "PointsmanNoneUp", []),
    (
        "one of two routers, stopped",
        {'up{job="pointsman",instance="a"}': "1x99", 'up{job="pointsman",instance="b"}': "1x59 stale"},
        70,
        "PointsmanFewerRouters",
        [{"severity": "ticket"}],
    ),
    (
        "one router after the other is replaced",
        {
            'up{job="pointsman",instance="a"}': "1x59 stale",
            'up{job="pointsman",instance="b"}': "_x54 1x50",
            'up{job="pointsman",instance="c"}': "1x99",
        },
        70,
        "PointsmanFewerRouters",
        [],
    ),
]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; the rules are parsed above")
@pytest.mark.parametrize(
    ("series", "minute", "alert", "labels"), [each[1:] for each in FIRING], ids=[e[0] for e in FIRING]
)
def test_alerts_are_raised_when_they_must(
    series: dict[str, str], minute: int, alert: str, labels: list[dict[str, Any]], tmp_path: Path
) -> None:
    rule = next(each for each in rules() if each["alert"] == alert)
    said = {
        "PointsmanSenderStopped": "Sender us is stopped",
        "PointsmanFewerRouters": "Fewer routers answer than most of the last hour: 1",
    }
    raised = [
        {
            "exp_labels": each,
            "exp_annotations": {**rule["annotations"], "summary": said.get(alert, rule["annotations"]["summary"])},
        }
        for each in labels
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": raised}],
    }
    file = tmp_path / "test.json"  # what is JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    checked = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here; the rules are parsed above")
def test_promtool_accepts_the_rules() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
