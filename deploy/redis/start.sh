#!/bin/sh
# Starts Valkey in a container, with the users of users.acl, and with an `admin` for cli.sh.
# Passwords go through files and pipes, because every process of the host can read arguments.
# Nobody can log in as `default`, which is off. It has permissions because Valkey 8.1.8 loads transactions with those of
# `default`, and skips what they do not allow (valkey-io/valkey#3983).
set -eu
umask 077
folder=$(dirname "$0")
run=${TMPDIR:-/tmp}

od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n' > "$run/admin"
sed -f /dev/stdin "$folder/users.acl" > "$run/users.acl" <<END
s/CHANGE-ME-API/${REDIS_API_PASSWORD:?is not set}/
s/CHANGE-ME-WORKER/${REDIS_WORKER_PASSWORD:?is not set}/
\$a\\
user admin on >$(cat "$run/admin") ~* &* +@all
END
unset REDIS_API_PASSWORD REDIS_WORKER_PASSWORD
exec valkey-server --aclfile "$run/users.acl" \
  --appendonly yes --appendfsync always --maxmemory-policy noeviction --save '' "$@"
