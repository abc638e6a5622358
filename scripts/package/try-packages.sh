#!/bin/sh
# Tries the packages of one platform on a machine of this platform: confirms the checksums, runs the executable
# of the archive, and installs the npm packages and runs their command. Each of both replicates a database and
# restores it. Needs sqlite3; leaves the npm packages out where npm is missing.
#
#   sh scripts/package/try-packages.sh FOLDER TARGET
set -eu
packages=$(cd "$1" && pwd)
target=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Replicates a database with the command in $1, and restores and compares it.
try() {
  mkdir -p "$work/$2"
  cd "$work/$2"
  "$1" --version
  sqlite3 app.db "PRAGMA journal_mode=WAL; CREATE TABLE t(body TEXT); INSERT INTO t VALUES ('kept')" >/dev/null
  "$1" watch app.db -b "file://$PWD/bucket" --once --no-metrics --log-level error
  "$1" verify app -b "file://$PWD/bucket" >/dev/null
  "$1" restore app -o restored.db -b "file://$PWD/bucket" >/dev/null
  test "$(sqlite3 restored.db 'SELECT body FROM t')" = kept
  echo "$2: replicated and restored"
}

cd "$packages"
if command -v sha256sum >/dev/null; then sha256sum -c SHA256SUMS; else shasum -a 256 -c SHA256SUMS; fi

mkdir "$work/archive"
tar -xzf walrust-[0-9]*-"$target".tar.gz -C "$work/archive" --strip-components=1
try "$work/archive/walrust" from-archive

if command -v npm >/dev/null; then
  mkdir "$work/npm"
  cd "$work/npm"
  echo '{"private":true}' >package.json
  npm install --offline --no-audit --no-fund --cache "$work/cache" \
    "$packages"/walrust-[0-9]*.[0-9]*.[0-9]*.tgz "$packages/walrust-$target"-[0-9]*.tgz
  try "$work/npm/node_modules/.bin/walrust" from-npm
fi
