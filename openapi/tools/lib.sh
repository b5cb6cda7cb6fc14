# What the scripts under openapi/ share: the pinned tools, and a server to try things on.
# shellcheck shell=bash
# shellcheck source=../../scripts/lib.sh
. scripts/lib.sh

# What is installed and generated lies with what Cargo builds, out of the repository.
work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/openapi
be8=${BE8_BIN:-$work/../debug/be8}

# None of the tools reports to its makers or looks for newer versions of itself.
export NO_UPDATE_NOTIFIER=1 REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true SCARF_ANALYTICS=false

# python_tools <list>: a virtual environment with the pinned packages of that list; node and npm are among them.
python_tools() {
  local list=$1 environment
  environment=$work/$(basename "$list" .txt)
  if ! cmp -s "$list" "$environment/installed"; then
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
    cp "$list" "$environment/installed"
  fi
  PATH=$environment/bin:$PATH
}

# The pinned packages of package-lock.json; their programs are found by name. Needs node from python_tools.
node_tools() {
  mkdir -p "$work"
  if ! cmp -s openapi/tools/package-lock.json "$work/installed-lock.json"; then
    cp openapi/tools/package.json openapi/tools/package-lock.json "$work"
    npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp openapi/tools/package-lock.json "$work/installed-lock.json"
  fi
  PATH=$work/node_modules/.bin:$PATH
}

# start_server [flags]: a server with a new data directory and a free port, which ends with the script. Sets $BE8_URL,
# $server_log and $operator_token.
start_server() {
  [ -x "$be8" ] || fail "there is no $be8: build it with cargo build, or name one in BE8_BIN"
  server_files=$(mktemp -d)
  trap stop_server EXIT
  # The private PostgreSQL runs as another user when this one is root.
  chmod 755 "$server_files"
  server_log=$server_files/log
  server_flags=("$@")
  operator_token=$(head -c 32 /dev/urandom | base64 -w0)
  printf '%s' "$operator_token" > "$server_files/operator"
  chmod 600 "$server_files/operator"
  launch_server 127.0.0.1:0
  echo "A server listens on $BE8_URL."
}

# launch_server <address>: the server of start_server, there. Sets $server and $BE8_URL.
launch_server() {
  [ ! -e "$server_log" ] || mv "$server_log" "$server_log.before"
  env -u DATABASE_URL -u BE8_DATABASE_URL "$be8" serve --listen "$1" --data-dir "$server_files/data" \
    --operator-token-file "$server_files/operator" --log warn "${server_flags[@]}" > "$server_log" 2>&1 &
  server=$!
  local address=
  while [ -z "$address" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$server_log" >&2; fail "the server did not start"; }
    sleep 0.2
    address=$(sed -n 's|^ *listening *http://||p' "$server_log")
  done
  export BE8_URL=http://$address
}

# restart_server: ends the server in good order, and with it its streams, and starts it again with the same data and port.
restart_server() {
  kill "$server"
  wait "$server" || fail "the server did not stop in good order"
  launch_server "${BE8_URL#http://}"
}

# with_restarts <command>: runs it, and restarts the server as often as it makes the file $BE8_RESTART, which is removed when the
# server listens again. Sets $restarts.
with_restarts() {
  local command
  restarts=0
  export BE8_RESTART=$server_files/restart
  "$@" &
  command=$!
  while kill -0 "$command" 2>/dev/null; do
    if [ -e "$BE8_RESTART" ]; then
      restart_server
      rm "$BE8_RESTART"
      restarts=$((restarts + 1))
    fi
    sleep 0.1
  done
  wait "$command"
}

stop_server() {
  local status=$?
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  [ "$status" -eq 0 ] || { echo "The server said:"; tail -n 40 "$server_log"; }
  rm -rf "$server_files"
  return "$status"
}
