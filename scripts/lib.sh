# What serve.sh and test.sh share: see to it that the machine has what be8 needs, and say what is done.
# shellcheck shell=bash

section() {
  printf '\n=== %s ===\n' "$*"
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Rust's own installer puts it where a login shell finds it, which this need not be.
require_rust() {
  if ! command -v cargo >/dev/null && [ -r "${HOME:-/root}/.cargo/env" ]; then
    # shellcheck source=/dev/null
    . "${HOME:-/root}/.cargo/env"
  fi
  command -v cargo >/dev/null || fail "Rust is missing: install it as https://rustup.rs says, then start this again"
}

# PostgreSQL 15 or newer, where the server looks for it too: PG_BIN, Debian's directories, PATH.
has_postgres() {
  local bin major
  if [ -n "${PG_BIN:-}" ]; then
    return 0
  fi
  for bin in /usr/lib/postgresql/*/bin; do
    major=${bin#/usr/lib/postgresql/}
    major=${major%/bin}
    if [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && [ "$major" -ge 15 ] 2>/dev/null; then
      return 0
    fi
  done
  command -v initdb >/dev/null && command -v postgres >/dev/null
}

has_c_compiler() {
  command -v cc >/dev/null && echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1
}

# A Python with the package cryptography, where the tests look for it too.
has_python() {
  python3 -c 'import cryptography' 2>/dev/null || /usr/bin/python3 -c 'import cryptography' 2>/dev/null
}

# A Python that makes virtual environments with pip in them; Debian has that apart.
has_venv() {
  python3 -c 'import ensurepip, venv' 2>/dev/null
}

# The headers are needed to build be8, the library to run it; the package of the headers brings both.
has_openssl() {
  command -v pkg-config >/dev/null && pkg-config --exists 'openssl >= 1.1.1'
}

# Installs Debian's packages for what is missing; does nothing, not even ask for rights, when nothing is.
# With "no-postgres" among the arguments, PostgreSQL may be missing; with "curl", "pgbouncer", "faketime", "python", "browser", "venv", "java",
# "go" or "php", that is needed too.
install_missing() {
  local packages=() wanted=" $* "
  if [[ "$wanted" != *" no-postgres "* ]] && ! has_postgres; then
    echo "PostgreSQL 15 or newer is missing. be8 keeps everything in it: package postgresql."
    packages+=(postgresql)
  fi
  if ! command -v setpriv >/dev/null || ! command -v flock >/dev/null; then
    echo "setpriv or flock is missing. be8 starts PostgreSQL by the one and its tests tidy up by the other: package util-linux."
    packages+=(util-linux)
  fi
  if ! has_c_compiler; then
    echo "A C compiler is missing. Some of the libraries that be8 is built from contain C: packages gcc and libc6-dev."
    packages+=(gcc libc6-dev)
  fi
  if ! has_openssl; then
    echo "OpenSSL's headers or pkg-config are missing. The library that encrypts pushes is built on them: packages libssl-dev and pkg-config."
    packages+=(libssl-dev pkg-config)
  fi
  if [[ "$wanted" == *" curl "* ]] && ! command -v curl >/dev/null; then
    echo "curl is missing. The first conversation of the README is had with it, and tested: package curl."
    packages+=(curl)
  fi
  if [[ "$wanted" == *" pgbouncer "* ]] && ! [ -x /usr/sbin/pgbouncer ]; then
    echo "PgBouncer is missing. The tests put it in front of PostgreSQL: package pgbouncer."
    packages+=(pgbouncer)
  fi
  if [[ "$wanted" == *" faketime "* ]] && ! compgen -G "/usr/lib/*/faketime/libfaketimeMT.so.1" >/dev/null; then
    echo "libfaketime is missing. The tests give one process a wrong clock by it: package faketime."
    packages+=(faketime)
  fi
  if [[ "$wanted" == *" python "* ]] && ! has_python; then
    echo "Python 3 with cryptography is missing. The second verifier of bundles is written in it: packages python3 and python3-cryptography."
    packages+=(python3 python3-cryptography)
  fi
  if [[ "$wanted" == *" browser "* ]]; then
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
      echo "Node or npm is missing. The tests in a browser are written for it: packages nodejs and npm."
      packages+=(nodejs npm)
    fi
    if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ]; then
      echo "Chromium is missing. It is the browser of those tests: packages chromium and fonts-dejavu-core."
      packages+=(chromium fonts-dejavu-core)
    fi
    if ! command -v openssl >/dev/null; then
      echo "openssl is missing. Those tests make a certificate with it: package openssl."
      packages+=(openssl)
    fi
  fi
  if [[ "$wanted" == *" venv "* ]] && ! has_venv; then
    echo "Python's virtual environments are missing. The tools for the OpenAPI document are installed in one: package python3-venv."
    packages+=(python3-venv)
  fi
  if [[ "$wanted" == *" java "* ]] && ! command -v javac >/dev/null; then
    echo "A JDK is missing. openapi-generator and the Java client are Java: package default-jdk-headless."
    packages+=(default-jdk-headless)
  fi
  if [[ "$wanted" == *" go "* ]] && [ ! -d /usr/share/gocode/src/gopkg.in/validator.v2 ]; then
    echo "The library that the Go client imports is missing: package golang-gopkg-validator.v2-dev."
    packages+=(golang-gopkg-validator.v2-dev)
  fi
  if [[ "$wanted" == *" php "* ]] && [ ! -r /usr/share/php/GuzzleHttp/autoload.php ]; then
    echo "PHP or Guzzle is missing. The PHP client is run by the one and speaks through the other: packages php-cli, php-curl, php-mbstring and php-guzzlehttp-guzzle."
    packages+=(php-cli php-curl php-mbstring php-guzzlehttp-guzzle)
  fi
  if [ "${#packages[@]}" -eq 0 ]; then
    echo "Everything that is needed is installed."
    return
  fi

  local root=()
  command -v apt-get >/dev/null || fail "this is no Debian, so install what is missing by your system's own means"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "as root, run: apt-get update && apt-get install --no-install-recommends ${packages[*]}"
    root=(sudo)
  fi
  echo "Installing from Debian: ${packages[*]}"
  # In a subshell, so that its trap ends with it.
  (
    # Debian's PostgreSQL makes and starts a cluster of its own on port 5432 when it is first installed. be8 does not use it.
    # This setting prevents it for this installation only; a PostgreSQL that is installed already is left alone.
    off=/etc/postgresql-common/createcluster.d/be8.conf
    if [[ " ${packages[*]} " == *" postgresql "* ]]; then
      echo "While it is being installed, $off keeps it from starting a server of its own."
      trap '"${root[@]}" rm -f "$off"' EXIT
      "${root[@]}" mkdir -p "${off%/*}"
      echo "create_main_cluster = false" | "${root[@]}" tee "$off" >/dev/null
    fi
    "${root[@]}" apt-get update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"
  )
  if [[ "$wanted" != *" no-postgres "* ]] && ! has_postgres; then
    fail "this Debian's PostgreSQL is older than 15: install a newer one (https://apt.postgresql.org) or name one in PG_BIN"
  fi
}
