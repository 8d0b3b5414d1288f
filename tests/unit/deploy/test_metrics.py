"""Dashboard, alerts and manual name only what an instance serves, and the manual names all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from mft.agent.metrics import Metrics, State
from mft.agent.metrics_page import Moment
from mft.events.catalogue import CATALOGUE
from mft.model.config import Config
from tests.rig.binaries import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
NAME = re.compile(r"\bmft_[a-z_]+")


def served() -> set[str]:
    """Return the names of all samples that the page may have."""
    state = State(1, True, 0, True, 0.5, 1.0, False, {}, 0, 0, {}, 0)
    moment = Moment(program="1", role="node", config=Config(), counts=Metrics().counts, state=state, lag_s=0.0)
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + ending for family in moment.collect() for ending in endings.get(family.type, ("",))}


def alerts() -> Iterator[dict[str, Any]]:
    """Yield each alert."""
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]:
        yield from group["rules"]


def queries() -> Iterator[str]:
    """Yield each query of the dashboard."""
    for panel in json.loads((DEPLOY / "grafana" / "mft-cluster.json").read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_what_is_asked_for_is_served() -> None:
    """Goal: no panel stays empty, no alert silent, because of a name. Method: compare with what the page has."""
    texts = [*queries(), *(alert["expr"] for alert in alerts())]
    assert len(texts) > 20
    assert {name for text in texts for name in NAME.findall(text)} <= served()


def test_alerts_name_events_that_exist() -> None:
    """Goal: a changed number does not silence an alert. Method: look each up in the catalogue."""
    ids = [int(id) for alert in alerts() for id in re.findall(r'id="(\d+)"', alert["expr"])]
    assert ids
    assert set(ids) <= CATALOGUE.keys()


def test_prometheus_is_given_the_rules() -> None:
    """Goal: the example is whole. Method: the files that it names are there."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])
    assert [job["job_name"] for job in config["scrape_configs"]] == ["mft"]


def test_the_manual_names_each_metric() -> None:
    """Goal: the table is complete. Method: compare its first column with the page."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")
    written = {row.split("`")[1] for row in text.splitlines() if row.startswith("| `mft_")}
    assert written == {re.sub(r"_(bucket|sum|count)$", "", name) for name in served()}
