#!/usr/bin/env bash
# Many files, with xargs: a job for each, four sent at a time, and a file of texts for each job. Run again, it repeats nothing.
#
#   examples/many_files.sh shards/*.parquet
#
# xargs ends with 0 when all is well, and with 123 when any of its commands did not end with 0.
set -euo pipefail

day=$(date +%F)
jobs=$(mktemp)
trap 'rm -f "$jobs"' EXIT

printf '%s\0' "$@" | xargs -0 -P 4 -I FILE unembed submit -q FILE --idempotency-key "FILE of $day" --label "day=$day" >"$jobs"
xargs -P 4 -I JOB unembed wait -q JOB <"$jobs" || echo "some jobs left rows without a text: unembed ls --label day=$day" >&2
xargs -P 4 -I JOB unembed results -q JOB -o JOB.parquet <"$jobs"
