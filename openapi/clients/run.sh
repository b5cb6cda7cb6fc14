#!/usr/bin/env bash
# Makes clients from the document and has each tell its story to a server of its own. The arguments name them: typescript,
# python, rust, java; without any, all but java. What is generated lies under target/openapi/clients and is not committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. openapi/tools/lib.sh
BE8_DOCUMENT=$PWD/openapi/be8.openapi.json
export BE8_DOCUMENT

# place <client>: an empty directory with the committed part of that client. Sets $place.
place() {
  place=$work/clients/$1
  rm -rf "$place"
  mkdir -p "$place"
  cp -r "openapi/clients/$1/." "$place"
}

typescript() {
  node_tools
  place typescript
  # What the page for those who write clients shows is TypeScript that fits the client, too.
  sed -n '/^```ts/,/^```$/p' docs/clients.md | grep -v '^```' > "$place/page.ts"
  (
    cd "$place"
    openapi-ts --no-log-file --silent
    tsc --project .
    node story.ts
  )
}

python() {
  place python
  (
    cd "$place"
    # It leaves out the stream of events, of which the story says how it is read, and what has a body of text.
    openapi-python-client generate --path "$BE8_DOCUMENT" --meta none --output-path be8_client --config config.yml \
      > generated.log 2>&1 || { cat generated.log; exit 1; }
    if [ "$(grep -o 'WARNING parsing [A-Z]* [^ ]*' generated.log)" != "WARNING parsing POST /audit/witness/add-checkpoint" ]; then
      cat generated.log
      exit 1
    fi
    python3 story.py
  )
}

rust() {
  (
    cd openapi/clients/rust
    cargo fmt --check
    # What be8 is built of is not built again.
    CARGO_TARGET_DIR=$(realpath "$work/..") cargo run --locked --quiet
  )
}

java() {
  local jar
  python_tools openapi/tools/requirements-java.txt
  place java
  (
    cd "$place"
    # The program of the generator has in it what the client needs: Jackson.
    jar=$(find "$work/requirements-java" -name openapi-generator.jar)
    openapi-generator-cli generate --generator-name java --library native --input-spec "$BE8_DOCUMENT" --output generated \
      --additional-properties openApiNullable=false,invokerPackage=be8,apiPackage=be8.api,modelPackage=be8.model \
      > generated.log || { cat generated.log; exit 1; }
    find generated/src/main javax -name '*.java' > sources
    javac -nowarn -encoding UTF-8 -d classes -cp "$jar" @sources Strict.java Story.java
    "$(dirname "$(realpath "$(command -v javac)")")/java" -cp "classes:$jar" Story
  )
}

clients=("$@")
[ $# -gt 0 ] || clients=(typescript python rust)
wanted=(venv)
for client in "${clients[@]}"; do
  case $client in
    typescript | python | rust) ;;
    java) wanted+=(java) ;;
    *) fail "there is no client $client: typescript, python, rust, java" ;;
  esac
done
install_missing "${wanted[@]}"
python_tools openapi/tools/requirements.txt
start_server --checkpoint-interval 1
for client in "${clients[@]}"; do
  section "The story in $client"
  "$client"
done
