"""The results page beside a run: its process, and the place that the Ray dashboard gives it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxent_ray.dashboard.addresses import DEFAULT_PORT, LOOPBACK, browser_url
from maxent_ray.dashboard.page_process import PageProcess
from maxent_ray.dashboard.stand_in import GRAFANA_HOST, variables
from maxent_ray.errors import MaxentRayError


class ResultsPage:
    """A page that is there or, with a reason, is not; a run goes on without it.

    Args:
        results: Parent of the results folders; None for no page.
        host: Host that it listens on.
    """

    def __init__(self, results: Path | None, host: str = LOOPBACK, port: int = DEFAULT_PORT) -> None:
        self.problem = ""
        """Reason that there is no page; empty if there is one."""
        self.in_dashboard = False
        """The Ray dashboard shows it in its Metrics tab."""
        self._host = host
        self._process: PageProcess | None = None
        if results is None:
            return
        try:
            self._process = PageProcess(results, host, port)
        except (MaxentRayError, OSError) as error:
            self.problem = str(error)

    @property
    def url(self) -> str | None:
        """Its address; None where there is none."""
        if self._process is not None and not self._process.is_running:
            self.problem = "its process ended; `maxent-ray dashboard` shows the reason"
            self._process = None
        return None if self._process is None else self._process.url

    @contextmanager
    def in_new_cluster(self) -> Iterator[None]:
        """Have the head that is started inside the block show the page, unless the user has a Grafana."""
        url = self.url
        if url is None or self._process is None or GRAFANA_HOST in os.environ:
            yield
            return
        added = {
            name: value
            for name, value in variables(url, browser_url(self._host, self._process.port)).items()
            if name not in os.environ  # a Prometheus of the user's stays
        }
        os.environ.update(added)
        try:
            yield
            self.in_dashboard = True
        finally:
            for name in added:
                del os.environ[name]

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.close()
