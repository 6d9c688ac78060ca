#!/usr/bin/env bash
# One of the processes that share a fit, as srun starts them: `srun --nodes=2 --ntasks=2 bash workflow/process.sh COMMAND`.
# Tells it what torchrun would: which one it is, of how many, and where the first one listens.
set -euo pipefail
first=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
address=$(scontrol --oneliner show node "$first" | grep -o ' NodeAddr=[^ ]*')
export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_STEP_NUM_TASKS LOCAL_RANK=$SLURM_LOCALID
export MASTER_ADDR=${address#*=} MASTER_PORT=$((20000 + (SLURM_JOB_ID * 10 + SLURM_STEP_ID) % 10000))
exec "$@"
