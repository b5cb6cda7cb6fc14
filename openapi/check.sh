#!/usr/bin/env bash
# Checks the OpenAPI document: two linters without a finding, and no break of the clients of the last release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. openapi/tools/lib.sh
document=openapi/be8.openapi.json

section "What the linters need"
install_missing no-postgres venv
python_tools openapi/tools/requirements.txt
node_tools

section "Lints of the document"
redocly lint --config openapi/tools/redocly.yaml "$document" --max-problems 1000 --format stylish
spectral lint --ruleset openapi/tools/spectral.yaml --fail-severity hint "$document"

section "Breaking changes"
python3 openapi/tools/test_breaking.py
released=$(find openapi/released -name '*.json' | sort --version-sort | tail -n 1)
if [ -n "$released" ]; then
  python3 openapi/tools/breaking.py "$released" "$document"
else
  echo "Nothing has been released yet, so nothing can break."
fi
