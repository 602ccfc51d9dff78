#!/usr/bin/env bash
# mpirun_test.sh RANKS PROGRAM [ARGS]: a program under mpirun on one host, however few cores it has.
set -euo pipefail
ranks=$1; shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec mpirun -n "$ranks" --oversubscribe --bind-to none --mca btl self,vader --mca mpi_yield_when_idle 1 \
  --mca odls_base_sigkill_timeout 0 --mca btl_vader_single_copy_mechanism none "$@"
