"""One process of a TRL training, for tests: it prints its record as JSON.

    python rank_main.py <model> <output> <settings as JSON>

``RANK`` and the like are as accelerate and torchrun set them. ``kill_at``: the step after which it kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback

from maxent_ray.integrations import MaxEntCallback
from tests.integrations.trl.recording import Recording, RecordingListwise
from tests.integrations.trl.support import arguments, build

KINDS = {"grpo": Recording, "listwise": RecordingListwise}


class Kill(TrainerCallback):
    """Kills this process after a step, as a lost machine would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def run(model: str, output: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train; returns the coefficients and the statistics of every micro-batch."""
    others = [Kill(settings["kill_at"])] if "kill_at" in settings else []
    args = arguments(Path(output), **settings["arguments"])
    callback = MaxEntCallback(**settings["controller"])
    trainer = build(model, args, callback, *others, kind=KINDS[settings["kind"]])
    trainer.train(resume_from_checkpoint=settings.get("resume"))
    batches = trainer.micro_batches
    return {
        "used": [[batch.step, batch.tau, batch.entropy_coef, batch.beta] for batch in batches],
        "statistics": [batch.statistics.to_dict() for batch in batches],
    }


if __name__ == "__main__":
    print("RECORD " + json.dumps(run(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))), flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()
