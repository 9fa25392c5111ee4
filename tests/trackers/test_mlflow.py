from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy", reason="MLflow's local store is a database")

from maxent_ray.trackers.mlflow_tracker import MlflowTracker  # noqa: E402
from tests.trackers.growing import follow, grow, rows, two_sessions  # noqa: E402


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The store after two sessions of results/demo; making its tables takes seconds."""
    results = tmp_path_factory.mktemp("results")
    (results / "demo").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        two_sessions(results / "demo", MlflowTracker)
        assert not list(Path.cwd().iterdir())
    assert {path.name for path in results.iterdir()} == {"demo", "mlflow.db"}
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")


@pytest.fixture
def runs(client: Any) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("demo")
    found = client.search_runs([experiment.experiment_id])
    assert len(found) == 2  # a resumed run goes on in its own
    return {run.info.run_name: run for run in found}


def history(client: Any, run: Any, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]


def test_every_step_is_logged_and_of_two_attempts_the_later_comes_last(client: Any, runs: dict[str, Any]) -> None:
    losses = history(client, runs["a"], "train/loss")
    assert dict(losses) == {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 2.0, 6: 2.0}
    assert len(losses) == 8  # steps 3 and 4 twice
    assert dict(history(client, runs["b"], "train/reward")) == {1: 0.5, 2: 1.5}
    assert history(client, runs["a"], "held_out/pass_at_8") == [(6, 1.0)]


def test_settings_are_parameters_and_clones_are_tags(runs: dict[str, Any]) -> None:
    assert runs["a"].data.params["controller.target_kl"] == "0.05"
    assert runs["b"].data.params["controller.target_kl"] == "0.1"
    tags = runs["a"].data.tags
    assert tags["maxent_ray.objective"] == "analytic"
    assert tags["maxent_ray.clone.000004"] == "step 4: cloned from b, with controller.target_kl = 0.06"


def test_the_status_tells_what_was_trained_to_its_end(runs: dict[str, Any]) -> None:
    assert {name: run.info.status for name, run in runs.items()} == {"a": "FINISHED", "b": "KILLED"}


def test_a_server_that_does_not_answer_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # the port of `discard`, where nobody listens
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    grow(tmp_path, rows("a", range(2)))
    follower = follow(tmp_path, MlflowTracker(tmp_path))
    assert not follower.poll()
    assert "127.0.0.1" in follower.reason
