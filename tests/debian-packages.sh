#!/usr/bin/env sh
# Brings what the tests of deploy/ need and pip does not have: Prometheus, from the Debian package.
# Unpacked here and not installed: the package would start a server of its own. Without apt those tests are skipped.
set -eu
cd "$(dirname "$0")/.."
folder=.venv-debian
PATH="$PATH:$PWD/$folder/usr/bin"
command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 0

echo "Unpacking Debian's prometheus into $folder ..."
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
fetch() { (cd "$download" && apt-get -qq -o APT::Sandbox::User=root download prometheus); }
if ! fetch 2>/dev/null; then
  # A fresh container has no package lists yet, and only root may fetch them.
  { [ "$(id -u)" = 0 ] && apt-get -qq update && fetch; } || {
    echo "Debian's prometheus cannot be downloaded: the tests that need it are skipped." >&2
    exit 0
  }
fi
dpkg-deb --extract "$download"/prometheus_*.deb "$folder"
