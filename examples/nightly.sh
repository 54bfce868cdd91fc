#!/usr/bin/env bash
# The same night's work for cron: silent when all is well, so that cron sends a mail only when it is not.
#
#   30 2 * * *  flock -n -E 75 /tmp/unembed-nightly.lock /srv/unembed/nightly.sh /data/corpus.parquet /data/texts.parquet
#
# flock lets no second run begin while one still goes on (it ends with 75 then). The environment of cron is bare: set PATH,
# UNEMBED_URL and UNEMBED_API_KEY_FILE at the top of the crontab. A third argument is the day, for a day that was missed.
set -uo pipefail

corpus=$1 texts=$2 day=${3:-$(date +%F)}
key="$(basename "$corpus") of $day" # run again on that day, it is the same job, and nothing is sent twice

job=$(unembed submit "$corpus" -q --idempotency-key "$key" --name "$key" --label pipeline=nightly) || exit
unembed wait "$job" -q
code=$?
case $code in
    0) ;;
    3) echo "job $job: some rows have no text; they say why: unembed results $job" >&2 ;;
    5) echo "job $job goes on, but its server does not answer; run this again later" >&2 ; exit $code ;;
    *) echo "job $job has ended without texts; see: unembed status $job" >&2 ; exit $code ;;
esac
unembed results "$job" -q -o "$texts" || exit
exit $code
