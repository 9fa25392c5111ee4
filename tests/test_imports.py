"""What may be loaded where: core, policy and tasks without Ray, the core without the rest of the edge."""

from __future__ import annotations

import subprocess
import sys

import pytest

# `sys.modules[name] = None` makes every import of that name, or below it, raise ModuleNotFoundError.
WALK_WITH_RAY_BLOCKED = """
import importlib, pkgutil, sys
sys.modules["ray"] = None
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
    print(module.name)
"""

RUN_WITH_RAY_BLOCKED = """
import sys
sys.modules["ray"] = None
from maxent_ray.train.run_local import run_local
from tests.train.tiny import tiny_config
print(len(run_local(tiny_config({"train.steps": 1})).rows))
"""

LOADED_AND_HANDLERS = """
import importlib, logging, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for name in sys.modules:
    print(name.partition(".")[0])
for logger in (logging.root, *logging.root.manager.loggerDict.values()):
    if isinstance(logger, logging.Logger) and logger.handlers:
        print("handler:" + logger.name)
"""

EDGE = {"matplotlib", "pydantic", "ray", "rich", "safetensors", "scipy", "transformers", "typer", "yaml"}


def run(program: str, *arguments: str) -> set[str]:
    """Run `program` in a new interpreter and return the lines it printed."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["maxent_ray.core", "maxent_ray.policy", "maxent_ray.tasks"])
def test_every_module_loads_with_ray_blocked(package: str) -> None:
    assert run(WALK_WITH_RAY_BLOCKED, package), f"{package} has no modules"


def test_a_run_in_one_process_needs_no_ray() -> None:
    assert run(RUN_WITH_RAY_BLOCKED) == {"1"}


def test_the_block_bites() -> None:
    """The test above is worth something only if a module that needs Ray would have failed it."""
    with pytest.raises(AssertionError, match="import of ray halted"):
        run(WALK_WITH_RAY_BLOCKED, "maxent_ray.tune")


def test_the_core_loads_torch_and_nothing_of_the_edge() -> None:
    loaded = run(LOADED_AND_HANDLERS, "maxent_ray.core") - run(LOADED_AND_HANDLERS, "torch", "jaxtyping")
    assert "maxent_ray" in loaded
    assert not loaded & EDGE
    assert not [name for name in loaded if name.startswith("handler:")]


def test_the_top_level_loads_without_ray_until_a_name_needs_it() -> None:
    assert not run(LOADED_AND_HANDLERS, "maxent_ray") & {"ray", "transformers"}


def test_what_ray_trains_controller_is_handed_loads_no_models() -> None:
    """It unpickles the job and the callback in a process of its own, at every start of a run."""
    loaded = run(LOADED_AND_HANDLERS, "maxent_ray.train.ray_train.train_job", "maxent_ray.train.ray_train.recording")
    assert "maxent_ray" in loaded and "transformers" not in loaded
