#!/bin/sh
# Writes what docker-compose.yml reads: fresh secrets into .env, and the settings into deploy/env.
# A file that exists stays as it is.
set -eu
cd "$(dirname "$0")/.."
umask 077

secret() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
  api_key=$(secret)
  cat > .env <<END
# The secrets of docker-compose.yml. Each container gets only those that it reads. Use letters and digits.
# The API keys, comma-separated. For keys with limits of their own: docker compose exec api klein keys create
KLEIN_API_KEYS=$api_key
KLEIN_URL_SECRET=$(secret)
REDIS_API_PASSWORD=$(secret)
REDIS_WORKER_PASSWORD=$(secret)
# A token of the Hugging Face hub, if KLEIN_WEIGHTS is a repository that asks for one.
HF_TOKEN=
END
  echo "wrote .env with fresh secrets. Your API key: $api_key"
else
  echo "kept .env. Your API keys are in its line KLEIN_API_KEYS"
fi
if [ ! -e deploy/env ]; then
  cp deploy/env.example deploy/env
  echo "wrote deploy/env: edit it to change settings"
else
  echo "kept deploy/env"
fi
