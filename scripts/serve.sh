#!/usr/bin/env bash
# Builds be8 and serves, on a machine that needs to have nothing but Rust. What is missing is installed from Debian's
# packages. Arguments go to `be8 serve`; paths in them are relative to the project's directory, as is the default data
# directory, so that the same server is started from wherever this is called. BE8_PROFILE=dev builds without optimising, which
# takes a fraction of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

section "What be8 needs"
require_rust
if [ -n "${DATABASE_URL:-}" ]; then
  echo "DATABASE_URL is set, so be8 uses that PostgreSQL and needs none here."
  install_missing no-postgres
else
  install_missing
fi

section "Building"
profile=${BE8_PROFILE:-release}
cargo build --profile "$profile" --locked --package be8

section "Serving"
[ "$profile" != dev ] || profile=debug
exec "${CARGO_TARGET_DIR:-target}/$profile/be8" serve "$@"
