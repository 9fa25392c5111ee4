"""Effect of the targets H* and KL*: `maxent-ray sweep` as a script, for `ray job submit`.

    python experiments/sweep_targets.py --config experiments/configs/sweep.yaml --name targets
    ray job submit --working-dir . -- python experiments/sweep_targets.py --config experiments/configs/sweep.yaml

Options and output files: `--help`.
"""

from __future__ import annotations

from maxent_ray.cli import main

if __name__ == "__main__":
    main("sweep")
