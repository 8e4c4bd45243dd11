"""The rules by themselves: well-formed, tested both ways, owned, and leading to what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from deploy.prometheus.server import CONFIG, executable, write
from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import HANDLE_SECONDS, ISSUE_SECONDS
from tests.architecture.test_docs import anchors
from tests.deploy.prometheus.rules import HERE, Rule, alerts, cases, names, rules, runbook, selectors

COUNTED = re.compile(r'count\(ALERTS\{alertname="(\w+)",alertstate="firing"\}\)')


def promtool(*arguments: str | Path) -> str:
    got = subprocess.run([executable("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    return got.stdout


def test_promtool_takes_rules_and_configuration(tmp_path: Path) -> None:
    promtool("check", "rules", *sorted((HERE / "rules").glob("*.yaml")))
    promtool("check", "config", CONFIG)
    promtool("check", "config", write(tmp_path, {"gateway": "127.0.0.1:1"}, 1))


@pytest.mark.parametrize("file", sorted((HERE / "tests").glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent_as_their_cases_say(file: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_every_alert_has_a_case_that_fires_and_one_that_stays_silent(rule: Rule) -> None:
    asked = [
        bool(test["exp_samples"])
        for case in cases()
        for test in case.get("promql_expr_test", ())
        if (of := COUNTED.fullmatch(test["expr"])) is not None and of[1] == rule.name
    ]
    assert set(asked) == {True, False}
    # A silent case without the alert's own series would prove nothing.
    needed = {name for name in names(rule.expr) if not name.startswith("toubao:")}
    for case in cases():
        if case["name"].startswith(f"{rule.name} "):
            given = {series["series"].partition("{")[0] for series in case["input_series"]}
            assert needed <= given | {"toubao_slo_objective_ratio"}, case["name"]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_every_alert_says_who_what_and_where(rule: Rule) -> None:
    assert rule.labels["severity"] in {"page", "ticket"}
    assert rule.labels["owner"] in {"platform", "payments", "underwriting", "evidence", "security"}
    assert rule.annotations["summary"].endswith(".")
    assert rule.annotations["description"]
    page, _, anchor = rule.annotations["runbook_url"].partition("#")
    assert page == "docs/runbook.md"
    assert anchor == rule.name.lower()
    assert anchor in anchors(runbook())


def test_the_runbook_speaks_of_no_alert_that_is_not_there() -> None:
    sections = set(re.findall(r"^### ([A-Z]\w+)$", runbook().read_text("utf-8"), re.MULTILINE))
    assert sections == {rule.name for rule in alerts()}


def test_no_rule_and_no_alert_twice() -> None:
    keys = [(rule.name, str(rule.labels.get("slo"))) for rule in rules()]
    assert len(set(keys)) == len(keys)


def test_targets_are_edges_of_the_histograms_they_are_judged_by() -> None:
    edges = {objectives.LATENCY: HANDLE_SECONDS, objectives.ISSUE: ISSUE_SECONDS}
    for objective, buckets in edges.items():
        assert objective.seconds in buckets
        judged = {
            matcher[1]
            for rule in rules()
            if rule.labels.get("slo") == objective.name
            for name, matchers in selectors(rule.expr)
            if name.endswith("_bucket") and (matcher := re.search(r'le="([^"]+)"', matchers))
        }
        assert judged == {str(objective.seconds)}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('sum by (a, b) (rate(x_total{a="b",c=~"d.+"}[5m])) / clamp_min(sum(y), 1e-9)', {"x_total", "y"}),
        ("p:q:r1h > on (slo) 14.4 * p:q and on (slo) z >= 10 or vector(0)", {"p:q:r1h", "p:q", "z"}),
        ('histogram_quantile(0.95, sum by (le) (rate(h_bucket{le="1.0"}[1h]))) or vector(0)', {"h_bucket"}),
    ],
)
def test_names_are_found_in_queries(query: str, found: set[str]) -> None:
    assert names(query) == found
