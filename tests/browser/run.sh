#!/usr/bin/env bash
# Drives Debian's Chromium against a server of its own: Swagger UI, and a client that the server serves. What is missing on
# the machine is installed from Debian's packages, and playwright-core from npm.
#
#   tests/browser/run.sh [--pictures] [FILE.test.mjs...]
#
# The server is target/debug/be8, or what BE8 names. With --pictures, those in docs/images are made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. scripts/lib.sh

BE8=$(realpath -m "${BE8:-${CARGO_TARGET_DIR:-target}/debug/be8}")
[ -x "$BE8" ] || fail "$BE8 is missing: build it with cargo build, or name another one in BE8"
export BE8
if [ "${1:-}" = --pictures ]; then
  shift
  BE8_PICTURES=$PWD/docs/images
  export BE8_PICTURES
fi
install_missing browser

cd tests/browser
if ! cmp -s package-lock.json node_modules/.of-package-lock.json; then
  npm ci --ignore-scripts --no-audit --no-fund --no-progress
  cp package-lock.json node_modules/.of-package-lock.json
fi
[ "$#" -gt 0 ] || set -- *.test.mjs

# All that the tests leave: data directories, the browser's profiles. PostgreSQL runs as another user when root tests, who
# must get through.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
chmod 711 "$TMPDIR"
node --test --test-reporter=spec "$@"
