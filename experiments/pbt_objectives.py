"""Analytic against truncated backprop by population-based training: `maxent-ray compare` as a script.

    python experiments/pbt_objectives.py --config experiments/configs/compare.yaml --name first
    ray job submit --working-dir . -- python experiments/pbt_objectives.py --config experiments/configs/compare.yaml

Options and output files: `--help`.
"""

from __future__ import annotations

from maxent_ray.cli import main

if __name__ == "__main__":
    main("compare")
