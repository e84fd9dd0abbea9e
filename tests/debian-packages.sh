#!/usr/bin/env sh
# Brings what the tests need and pip does not have, from Debian's packages: Chromium for the tests of the pages,
# and Prometheus for those of deploy/. Without apt those tests are skipped, and fail in CI.
set -eu
cd "$(dirname "$0")/.."
folder=.venv-debian
PATH="$PATH:$PWD/$folder/usr/bin"
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

# Unpacked and not installed: the package would start a server of its own.
bring_prometheus() {
  if has prometheus && has promtool; then return; fi
  if ! has apt-get || ! has dpkg-deb; then return; fi
  echo "Unpacking Debian's prometheus into $folder ..."
  download=$(mktemp -d)
  trap 'rm -rf "$download"' EXIT
  fetch() { (cd "$download" && apt-get -qq -o APT::Sandbox::User=root download prometheus); }
  if ! fetch 2>/dev/null; then
    # Only root may fetch the package lists.
    { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch; } || {
      echo "Debian's prometheus cannot be downloaded: the tests that need it are skipped." >&2
      return
    }
  fi
  dpkg-deb --extract "$download"/prometheus_*.deb "$folder"
}

bring_chromium
bring_prometheus
