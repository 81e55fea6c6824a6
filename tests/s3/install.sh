#!/bin/sh
# Installs the S3 test server into node_modules beside this script, exactly as locked.
set -eu
cd "$(dirname "$0")"
if [ ! -d node_modules/s3rver ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --silent
fi
