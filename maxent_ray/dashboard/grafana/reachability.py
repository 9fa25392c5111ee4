"""Checks that Prometheus and Grafana answer, with advice where one does not."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

from maxent_ray.dashboard.grafana.panels import LISTED, UID

GRAFANA, PROMETHEUS = "RAY_GRAFANA_HOST", "RAY_PROMETHEUS_HOST"
"""Environment variables that Ray finds both by."""
DEFAULTS = {GRAFANA: "http://localhost:3000", PROMETHEUS: "http://localhost:9090"}
TIMEOUT_S = 3.0
_NAMES = {GRAFANA: "Grafana", PROMETHEUS: "Prometheus"}
_START = {
    GRAFANA: "start it with --config=<session>/metrics/grafana/grafana.ini",
    PROMETHEUS: "start it with --config.file=<session>/metrics/prometheus/prometheus.yml",
}
_AGENT = "a run's first metrics arrive 10 to 30 s after its first step"


def grafana_state(environment: Mapping[str, str] = os.environ) -> str:
    """One sentence: the dashboard's address in Grafana, or what to do for Grafana to be reached."""
    if environment.get(GRAFANA) == "DISABLED":
        return f"{GRAFANA} is DISABLED; set it to Grafana's address for the Ray dashboard to show it"
    host = _host(GRAFANA, environment)
    answer = _ask(GRAFANA, host, "api/health")
    return answer if isinstance(answer, str) else f"in Grafana: {_public(host)}/d/{UID}"


def prometheus_state(environment: Mapping[str, str] = os.environ) -> str:
    """One sentence: how many runs Prometheus knows, or what to do for it to know any."""
    host = _host(PROMETHEUS, environment)
    answer = _ask(PROMETHEUS, host, f"api/v1/query?query={quote(f'count(count by (run) ({LISTED}))')}")
    if isinstance(answer, str):
        return answer
    found = answer.get("data", {}).get("result", [])
    if not found:
        return f"Prometheus at {_public(host)} has no run's metrics: {_START[PROMETHEUS]}; {_AGENT}"
    return f"Prometheus at {_public(host)} has the metrics of {found[0]['value'][1]} run(s)"


def _ask(variable: str, host: str, path: str) -> dict[str, Any] | str:
    """JSON answer, or the sentence that says what to do."""
    name, shown = _NAMES[variable], _public(host)
    named = f"set {variable} to its address"
    try:
        with urlopen(f"{host}/{path}", timeout=TIMEOUT_S) as answer:
            found = json.loads(answer.read())
    except HTTPError as error:
        return f"{name} at {shown} answers {error.code} ({error.reason}): check that it runs there, or {named}"
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return f"{name} at {shown} cannot be reached ({reason}): {_START[variable]}, or {named}"
    except ValueError:
        return f"what answers at {shown} is not {name}: {named}"
    return found if isinstance(found, dict) else f"what answers at {shown} is not {name}: {named}"


def _host(variable: str, environment: Mapping[str, str]) -> str:
    return (environment.get(variable) or DEFAULTS[variable]).rstrip("/")


def _public(host: str) -> str:
    """An address without the login that may be part of it."""
    parts = urlsplit(host)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
