"""What do the targets H* and KL* buy? `maxent-ray sweep` as a script, for `ray job submit`.

    python experiments/sweep_targets.py --config experiments/configs/sweep.yaml --name targets
    ray job submit --working-dir . -- python experiments/sweep_targets.py --config experiments/configs/sweep.yaml

Options and what is written: `--help`.
"""

from __future__ import annotations

from maxent_ray.cli import main

if __name__ == "__main__":
    main("sweep")
