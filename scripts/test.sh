#!/usr/bin/env bash
# Checks everything: format, lints, tests. What is missing on the machine is installed from Debian's packages. Arguments go
# to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

# A snapshot that differs is a failure, not a proposal.
export CI=true INSTA_UPDATE=no

section "What the tests need"
require_rust
install_missing curl python

section "Format"
cargo fmt --all --check

section "Lints"
cargo clippy --workspace --all-targets --locked -- -D warnings

section "Tests"
cargo test --workspace --locked "$@"

section "All is well"
