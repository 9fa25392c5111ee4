"""Measure a policy on held-out prompts: `maxent-ray eval` as a script.

    python experiments/evaluate.py --model results/mine/policy --output results/mine/eval.json

Options: `--help`.
"""

from __future__ import annotations

from maxent_ray.cli import main

if __name__ == "__main__":
    main("eval")
