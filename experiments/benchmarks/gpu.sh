#!/usr/bin/env bash
# Check and measure every path that needs a GPU, on one GPU, in under 8 minutes.
#
#   experiments/benchmarks/gpu.sh [OUTPUT]            # results/gpu: table.md, table.json, gpu.log
#   PYTHON=python3 experiments/benchmarks/gpu.sh      # another interpreter than that of .venv
#
# The parts and their time limits are in gpu_parts.py; Ray is not needed.
set -euo pipefail
output=$(realpath -m "${1:-results/gpu}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PYTHON=${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "gpu.sh: $PYTHON has no torch that can use a GPU; run this on a machine with one (PYTHON=… names another)" >&2
    exit 2
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" experiments/benchmarks/gpu_parts.py --output "$output"
