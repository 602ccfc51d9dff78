#!/usr/bin/env bash
# sbatch configs/slurm-two-nodes.sh: one model over two nodes of four GPUs, tensor parallel in a node, pipeline parallel
# between them. The front runs on the first node and starts the ranks by mpirun, so that it can start them again.
#SBATCH --job-name=trireme
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

model=${MODEL:-meta-llama/Llama-3.1-70B-Instruct}   # a path or org/name that every node can read
hosts=$(mktemp)
trap 'rm -f "$hosts"' EXIT
scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/ slots=$SLURM_NTASKS_PER_NODE/" >"$hosts"

trireme serve "$model" -tp 4 -pp 2 --hostfile "$hosts" --launch-args "--map-by ppr:$SLURM_NTASKS_PER_NODE:node" \
  --host 0.0.0.0 --port "${PORT:-8000}" --api-key-file "${KEY_FILE:-$HOME/.config/trireme/keys}" --shutdown-timeout 100 &
trap 'kill -TERM %1; wait %1' TERM      # Slurm warns two minutes before the end
wait %1
