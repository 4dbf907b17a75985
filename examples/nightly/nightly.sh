#!/usr/bin/env bash
# Compress the log files of a folder: ./nightly.sh FOLDER
# In a crontab, with a lock so that a night that takes long is not met by the next one:
#   0 3 * * *  cd /srv/app && flock -n .nightly.lock examples/nightly/nightly.sh /var/log/app
# What was not finished when the machine went down is done the next night: it is still in the queue, in the folder .fb here.
set -euo pipefail

folder=$(realpath "${1:?a folder with .log files}")
address=$(dirname "$(realpath "$0")")/archive.py:compress

find "$folder" -name '*.log' -print0 |
    while IFS= read -r -d '' file; do printf '"%s"\n' "${file//\"/\"\"}"; done |
    { echo path; cat; } |
    fb push "$address" -

# Exit code: 0 all done, 8 some failed for good, 1 all did.
status=0
fb consume "$address" --burst --processes 2 --retries 1 || status=$?

if [ "$status" -ne 0 ]; then
    echo "Not compressed:" >&2
    fb dead ls "$address" >&2
fi
exit "$status"
