#!/usr/bin/env bash
# Tries libraries for server-sent events, from npm, PyPI and crates.io and in Chromium, on the stream of changes of a server of its
# own: an open stream with heartbeats, a connection that is cut in the middle of an event, a restart of the server, and a stream
# that is refused. The arguments name libraries, as check.py does; without any, all. It prints what each did, for the table in
# docs/clients.md, and judges nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. openapi/tools/lib.sh

install_missing venv browser
python_tools openapi/tools/requirements.txt
python_tools openapi/clients/sse/requirements-sseclient.txt
python_tools openapi/clients/sse/requirements-sse.txt
place=$work/clients/sse
mkdir -p "$place"
cp -r openapi/clients/sse/. "$place"
if ! cmp -s "$place/package-lock.json" "$place/installed-lock.json"; then
  npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$place/package-lock.json" "$place/installed-lock.json"
fi
CARGO_TARGET_DIR=$(realpath "$work/..") cargo build --locked --quiet --manifest-path openapi/clients/sse/Cargo.toml

start_server --checkpoint-interval 1 --events-heartbeat-seconds 1 --events-per-account 2
check() {
  cd "$place"
  python3 check.py "$work" "$@"
}
with_restarts check "$@"
