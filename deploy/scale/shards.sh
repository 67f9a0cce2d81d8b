#!/bin/sh
# Runs the shards of a test set side by side on this machine, and merges them:
#   shards.sh NETWORK.net FRAMES.npy OUT.trace SHARDS SIDE_BY_SIDE [options of neuroport run]
# A shard whose file is there is not run again, unless it is of another network, frames or options.
set -eu
net=$1 frames=$2 out=$3 shards=$4 jobs=$5
shift 5
ls -d "$net" "$frames" > /dev/null
mkdir -p "$out.shards"
of=$(find "$net" "$frames" -type f -exec cksum {} + | cut -d " " -f 1,2 | sort; echo "$shards" "$@")
if [ "$(cat "$out.shards/of" 2>/dev/null || echo "$of")" != "$of" ]; then
  echo "shards.sh: $out.shards holds shards of another network, other frames or options;" \
    "remove it, or name another OUT" >&2
  exit 2
fi
echo "$of" > "$out.shards/of"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
seq -f "%.0f/$shards" "$shards" | xargs -n 1 -P "$jobs" sh -c '
  net=$1 frames=$2 out=$3
  shift 3
  for shard; do :; done  # the last, which xargs adds
  file="$out.shards/${shard%/*}.trace"
  [ -e "$file" ] || neuroport run "$net" --frames "$frames" -o "$file" "$@"
' shards.sh "$net" "$frames" "$out" "$@" --shard
set --
for number in $(seq "$shards"); do set -- "$@" "$out.shards/$number.trace"; done
neuroport merge "$@" -o "$out"
