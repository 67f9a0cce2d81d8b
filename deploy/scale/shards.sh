#!/bin/sh
# Runs the shards of a test set side by side on this machine, and merges them:
#   shards.sh NETWORK.net FRAMES.npy OUT.trace SHARDS SIDE_BY_SIDE [options of neuroport run]
# A shard whose file is there is not run again.
set -eu
net=$1 frames=$2 out=$3 shards=$4 jobs=$5
shift 5
mkdir -p "$out.shards"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
seq "$shards" | xargs -P "$jobs" -I N sh -c '
  number=$1 net=$2 frames=$3 out=$4 shards=$5
  shift 5
  [ -e "$out.shards/$number.trace" ] ||
    neuroport run "$net" --frames "$frames" --shard "$number/$shards" -o "$out.shards/$number.trace" "$@"
' shard N "$net" "$frames" "$out" "$shards" "$@"
set --
for number in $(seq "$shards"); do set -- "$@" "$out.shards/$number.trace"; done
neuroport merge "$@" -o "$out"
