#!/usr/bin/env sh
# Brings what the tests need and pip does not have, from Debian's packages: Chromium for the tests of the pages,
# Prometheus for those of deploy/, Alertmanager for those of its channel, nginx, HAProxy and Caddy for those of
# docs/proxies.md, PgBouncer, Redis and its Sentinel for those of tests/infrastructure. Without apt those tests are skipped, and fail in CI.
set -eu
cd "$(dirname "$0")/.."
folder=.venv-debian
PATH="$PATH:$PWD/$folder/usr/bin:$PWD/$folder/usr/sbin"
has() { command -v "$1" >/dev/null; }

bring_chromium() {
  if has chromium || has chromium-browser; then return; fi
  if ! has apt-get || [ "$(id -u)" != 0 ]; then
    echo "There is no chromium: install it (on Debian, as root: apt-get install chromium), or the tests of the pages are skipped." >&2
    return
  fi
  echo "Installing Debian's chromium ..."
  install_chromium() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium fonts-dejavu-core >/dev/null
  }
  # A fresh container has no package lists yet.
  install_chromium 2>/dev/null || { apt-get -qq update && install_chromium; } ||
    echo "Debian's chromium cannot be installed: the tests of the pages are skipped." >&2
}

# Unpacked and not installed: each of these packages would start a server of its own.
unpack() {
  name=$1
  shift
  if ! has apt-get || ! has dpkg-deb; then return; fi
  echo "Unpacking Debian's $name into $folder ..."
  download=$(mktemp -d)
  fetch() { (cd "$download" && apt-get -qq -o APT::Sandbox::User=root download "$@"); }
  # Only root may fetch the package lists.
  if fetch "$@" 2>/dev/null || { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch "$@"; }; then
    for package in "$download"/*.deb; do dpkg-deb --extract "$package" "$folder"; done
  else
    echo "Debian's $name cannot be downloaded: the tests that need it are skipped." >&2
  fi
  rm -rf "$download"
}

bring_chromium
if ! has prometheus || ! has promtool; then unpack prometheus prometheus; fi
if ! has prometheus-alertmanager; then unpack prometheus-alertmanager prometheus-alertmanager; fi
# Alertmanager reads its templates there, wherever it is.
templates=/usr/share/prometheus/alertmanager
if [ ! -e "$templates" ] && [ -e "$folder$templates" ] && [ "$(id -u)" = 0 ]; then
  mkdir -p "${templates%/*}" && ln -s "$PWD/$folder$templates" "$templates"
fi
if ! has nginx; then unpack nginx nginx; fi
if ! has haproxy; then unpack haproxy haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1; fi
if ! has caddy; then unpack caddy caddy; fi
if ! has pgbouncer; then unpack pgbouncer pgbouncer libc-ares2 libevent-2.1-7; fi
if ! has redis-server || ! has redis-sentinel; then
  unpack redis redis-server redis-sentinel redis-tools libhiredis0.14 libjemalloc2 liblua5.1-0 liblzf1 lua-bitop lua-cjson
fi
# `tests/debian-packages.sh image` also installs what builds an image without a daemon.
if [ "${1:-}" = image ] && { ! has buildah || ! has mmdebstrap; }; then
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends buildah mmdebstrap >/dev/null
fi
