#!/usr/bin/env bash
# mpirun_test.sh RANKS PROGRAM [ARGS]: a program under mpirun on one host, however few cores it has.
# Shared-memory and session files live in a directory of this run, so that a killed run leaves nothing behind;
# MPI variables of an enclosing run are dropped, because mpirun refuses to nest.
set -euo pipefail
if [ $# -lt 2 ]; then echo "usage: $0 RANKS PROGRAM [ARGS]" >&2; exit 2; fi
ranks=$1; shift
for variable in $(compgen -e); do
  case $variable in OMPI_*|PMIX_*|PRTE_*|PMI_*) unset "$variable" ;; esac
done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0}   # NVLink multicast must be asked for
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}   # Open MPI keeps memory until the process ends
base=/dev/shm
[ -d $base ] && [ -w $base ] || base=${TMPDIR:-/tmp}
directory=$(mktemp -d "$base/trireme-test.XXXXXX")
child=
trap 'rm -rf "$directory"' EXIT
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; wait' INT TERM
mpirun -n "$ranks" --oversubscribe --bind-to none --mca plm isolated --mca btl self,vader --mca mpi_yield_when_idle 1 \
  --mca odls_base_sigkill_timeout 0 --mca btl_vader_single_copy_mechanism none \
  --mca btl_vader_free_list_max 8192 --mca btl_vader_segment_size 33554432 --mca btl_vader_fbox_max 0 \
  --mca btl_vader_backing_directory "$directory" --mca orte_tmpdir_base "$directory" "$@" &
child=$!
status=0
wait "$child" || status=$?
exit "$status"
