"""A comparison of toys in a process of its own, to be killed: they wait for it at a gate.

Arguments: a cluster, the folder of results, settings.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from maxent_ray.config.loading import load_config
from maxent_ray.tune.comparison import run_comparison
from tests.tune.toy import GatedTrial

if __name__ == "__main__":
    address, results, *overrides = sys.argv[1:]
    ray.init(address=address, log_to_driver=False)
    run_comparison(load_config(overrides=overrides), name="toy", results=Path(results), trainable=GatedTrial)
