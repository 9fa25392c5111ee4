"""Code in the documentation works: Python runs, commands exist with their options, YAML is a configuration."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import torch

from maxent_ray import BatchStatistics, Controller, ControllerConfig, plugins
from maxent_ray.cli.commands import check_inputs
from maxent_ray.config import TuneSettings, load_config
from maxent_ray.report.summary import summarise
from maxent_ray.tune.search_space import build_search_space
from tests.docs.blocks import PAGES, ROOT, SHELL, blocks, check_command, commands
from tests.report.results_folder import write_results


def pages(kind: str, *languages: str) -> list[str]:
    """Pages with code of a kind, as parameters."""
    names = [page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page, *languages)]
    if kind == "python":
        names.remove("README.md")  # tests/test_readme.py runs it
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory that Python imports from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_modules(page: Path, folder: Path) -> None:
    """Write the blocks that begin with a file's name into it."""
    for block in blocks(page, "python"):
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (folder / named[1]).write_text(block, encoding="utf-8")


def write_entry_points(page: Path, folder: Path) -> None:
    """Write a page's entry points as those of an installed package."""
    info = folder / "example-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: example\nVersion: 1\n", encoding="utf-8")
    with (info / "entry_points.txt").open("w", encoding="utf-8") as file:
        for block in blocks(page, "toml"):
            for group, names in tomllib.loads(block)["project"]["entry-points"].items():
                file.write("".join([f"[{group}]\n", *(f"{name} = {path}\n" for name, path in names.items())]))


def write_demo(folder: Path) -> None:
    """Write results as ``make demo`` leaves them: made-up rows, and decisions on made-up batches."""
    write_results(folder)
    summarise(folder, wall_seconds=1.0)
    controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05))
    state, lines = controller.init(), []
    for _ in range(10):
        batch = BatchStatistics(groups=24, weight_entropy_sum=24 * 1.95, tokens=900, policy_kl_sum=45.0)
        state, decision = controller.step(state, batch)
        lines.append({**decision.to_dict(), "alarms": [], "trial": "analytic-0", "segment": 0})
    (folder / "decisions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("name", pages("python", "python"))
def test_python_runs(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    write_modules(ROOT / name, folder)
    code = "".join(blocks(ROOT / name, "python"))
    if "results/demo" in code:
        write_demo(folder / "results" / "demo")
    if "build_algo" in code:  # RLlib starts a cluster where there is none
        request.getfixturevalue("ray_cluster")
    namespace: dict[str, object] = {"__name__": "page"}
    with torch.random.fork_rng():
        for number, block in enumerate(blocks(ROOT / name, "python"), 1):
            exec(compile(block, f"{name}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("name", pages("shell", *SHELL))
def test_commands_exist_with_their_options_and_settings(name: str) -> None:
    for words in commands(ROOT / name):
        check_command(words)


@pytest.mark.parametrize("name", pages("yaml", "yaml"))
def test_yaml_is_a_configuration(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    write_modules(ROOT / name, folder)
    write_entry_points(ROOT / name, folder)
    plugins.plug_ins.cache_clear()  # entry points are read once a process
    request.addfinalizer(plugins.plug_ins.cache_clear)
    for block in blocks(ROOT / name, "yaml"):
        (folder / "page.yaml").write_text(block, encoding="utf-8")
        config = load_config(folder / "page.yaml")
        check_inputs(config)
        if config.tune.search_space != TuneSettings().search_space:
            build_search_space(config)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("make nothing", "no target nothing"),
        ("maxent-ray dance", "no command 'dance'"),
        ("maxent-ray train --quickly", "--quickly"),
        ("maxent-ray train train.step=1", "unknown key 'train.step'"),
        ("python experiments/nothing.py", "no experiments/nothing.py"),
        ("ray job submit --working-dir . -- python experiments/train.py --quickly", "--quickly"),
        ("sudo rm", "nobody checks sudo"),
    ],
)
def test_a_wrong_command_is_seen(command: str, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        check_command(command.split())


def test_pages_were_found() -> None:
    assert len(PAGES) >= 18
    assert len([page for page in PAGES if blocks(page, "python")]) >= 8
