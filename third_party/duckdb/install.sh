#!/bin/sh
# Installs libduckdb.so into node_modules beside this script, exactly as locked. Quick when it is there.
# One at a time: builds side by side may call this together.
set -eu
cd "$(dirname "$0")"
exec 9>.lock
flock 9
library=node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so
if [ ! -f "$library" ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --ignore-scripts --silent
  touch node_modules/.package-lock.json
fi
