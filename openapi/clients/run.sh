#!/usr/bin/env bash
# Makes clients from the document and has each tell its story to a server of its own. The arguments name them: typescript,
# python, rust, java, typescript-fetch, go, php; without any, the first three. What is generated lies under
# target/openapi/clients and is not committed.
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

# openapi_generator <name> <flags>: a client by openapi-generator, in generated/.
openapi_generator() {
  openapi-generator-cli generate --input-spec "$BE8_DOCUMENT" --output generated --generator-name "$@" > generated.log \
    || { cat generated.log; exit 1; }
}

typescript_fetch() {
  node_tools
  python_tools openapi/tools/requirements-generator.txt
  place typescript-fetch
  cp openapi/clients/typescript/crypto.ts "$place"
  (
    cd "$place"
    openapi_generator typescript-fetch
    tsc --project .
    node built/story.js
  )
}

go() {
  python_tools openapi/tools/requirements-generator.txt
  python_tools openapi/tools/requirements-go.txt
  place go
  (
    cd "$place"
    openapi_generator go --additional-properties packageName=be8,enumClassPrefix=true
    # A package of the story's module; what it imports comes from Debian.
    mv generated be8
    rm be8/go.mod be8/go.sum
    rm -r be8/test
    cp -r /usr/share/gocode/src/gopkg.in/validator.v2 validator
    rm -f validator/*_test.go
    echo "module gopkg.in/validator.v2" > validator/go.mod
    export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOTELEMETRY=off GOCACHE=$work/go-build
    command go vet ./...
    command go run .
  )
}

php() {
  python_tools openapi/tools/requirements-generator.txt
  place php
  (
    cd "$place"
    openapi_generator php
    command php story.php
  )
}

java() {
  local jar
  python_tools openapi/tools/requirements-generator.txt
  place java
  (
    cd "$place"
    # The program of the generator has in it what the client needs: Jackson.
    jar=$(find "$work/requirements-generator" -name openapi-generator.jar)
    openapi_generator java --library native \
      --additional-properties openApiNullable=false,invokerPackage=be8,apiPackage=be8.api,modelPackage=be8.model
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
    # openapi-generator is a program in Java.
    java | typescript-fetch) wanted+=(java) ;;
    go | php) wanted+=(java "$client") ;;
    *) fail "there is no client $client: typescript, python, rust, java, typescript-fetch, go, php" ;;
  esac
done
install_missing "${wanted[@]}"
python_tools openapi/tools/requirements.txt
start_server --checkpoint-interval 1
for client in "${clients[@]}"; do
  section "The story in $client"
  with_restarts "${client//-/_}"
  [ "$restarts" -gt 0 ] || fail "the story in $client did not come back to a restarted server"
done
