#!/bin/sh
# Installs libchdb and libduckdb into node_modules beside this script, exactly as locked.
set -eu
cd "$(dirname "$0")"
if [ ! -e node_modules/@chdb/lib-linux-x64-gnu/libchdb.so ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --silent
fi
