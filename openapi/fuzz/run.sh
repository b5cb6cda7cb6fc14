#!/usr/bin/env bash
# Lets schemathesis loose on a server of its own: every operation of the document, with examples, edge cases, random bodies
# and chains of requests. The argument is how many seconds it has.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. openapi/tools/lib.sh
seconds=${1:-60}

install_missing venv
python_tools openapi/tools/requirements.txt

# Password hashes are weak here: the server would do little else. Limits, the guard of a server that runs full, and the
# number of sessions would end the run early.
start_server --test-mode true --hash-memory-kib 8 --hash-passes 1 --checkpoint-interval 1 \
  --limit-signups off --limit-address off --limit-account off --limit-streams off \
  --signup-free-disk-mib 0 --signup-free-memory-mib 0 \
  --witness-logs "$(cat openapi/example-log/key.txt)" --witness-key "$work/witness.key"
export BE8_OPERATOR_TOKEN=$operator_token SCHEMATHESIS_HOOKS=$PWD/openapi/fuzz/hooks.py
here=$PWD
# What it remembers from run to run is kept out of the repository.
cd "$work"

status=0
schemathesis --config-file "$here/openapi/fuzz/schemathesis.toml" run "$here/openapi/be8.openapi.json" --url "$BE8_URL" --checks all \
  --exclude-checks negative_data_rejection,positive_data_acceptance --max-time "$seconds" --no-color \
  --report json --report-json-path schemathesis.json "${@:2}" || status=$?
if grep -iE 'panicked|ERROR' "$server_log"; then
  echo "The server complained."
  status=1
fi
curl --fail --silent --show-error "$BE8_URL/healthz" >/dev/null
exit "$status"
