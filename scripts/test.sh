#!/usr/bin/env bash
# Checks everything: format, lints, tests, the OpenAPI document and generated clients. What is missing on the machine is
# installed from Debian's packages, and the pinned tools for the document from PyPI and npm. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

# A snapshot that differs is a failure, not a proposal.
export CI=true INSTA_UPDATE=no
# Many tests wait for processes, disks and clocks: so more of them run at a time than there are processors.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"

section "What the tests need"
require_rust
install_missing curl pgbouncer faketime python venv

section "Format"
cargo fmt --all --check

section "Lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

section "Tests"
cargo test --workspace --locked "$@"

section "Serving"
serving=$(mktemp -d)
# The private PostgreSQL runs as another user when this one is root.
chmod 711 "$serving"
env -u DATABASE_URL -u BE8_DATABASE_URL BE8_PROFILE=dev scripts/serve.sh --listen 127.0.0.1:0 --data-dir "$serving/data" > "$serving/out" &
server=$!
until curl -fsS "$(sed -n 's/^ *listening *//p' "$serving/out")/readyz" 2> "$serving/waiting"; do
  kill -0 "$server" || { cat "$serving/out"; fail "the server did not start"; }
  sleep 1
done
kill -TERM "$server"
wait "$server"
rm -rf "$serving"

section "The document and its clients"
openapi/check.sh
# The same seed each time: a change is judged by what it changed. Longer runs, with seeds of their own, are for who looks for more.
openapi/fuzz/run.sh 60 --seed 1
openapi/clients/run.sh typescript python rust

section "Behind proxies"
tests/proxies/run.sh nginx haproxy apache

section "In a browser"
tests/browser/run.sh

section "All is well"
