"""Train one policy on Ray Train: `maxent-ray train` as a script, for `ray job submit`.

    python experiments/train.py --config experiments/configs/train.yaml --name mine
    ray job submit --working-dir . -- python experiments/train.py --config experiments/configs/train.yaml

Options and output files: `--help`.
"""

from __future__ import annotations

from maxent_ray.cli import main

if __name__ == "__main__":
    main("train")
