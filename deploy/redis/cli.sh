#!/bin/sh
# Runs valkey-cli as `admin`, whose password start.sh made.
REDISCLI_AUTH=$(cat "${TMPDIR:-/tmp}/admin") exec valkey-cli --user admin "$@"
