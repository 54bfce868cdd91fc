#!/bin/sh
# Makes the passwords and keys that docker-compose.yml reads, in secrets/ beside it. What is there already stays as it is:
#
#   sh deploy/make-secrets.sh
#
# The folder is yours alone. The files can be read by all who can open it: each container has a user of its own.
set -eu
umask 077
folder=$(dirname "$0")/../secrets
mkdir -p "$folder"
cd "$folder"
chmod 700 .

secret() { # NAME [BEFORE]: BEFORE, then 48 hexadecimal digits
    [ ! -s "$1" ] || return 0
    digits=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s%s\n' "${2:-}" "$digits" >"$1.new"
    chmod 444 "$1.new"
    mv -f "$1.new" "$1"
    echo "made $(pwd)/$1"
}

secret postgres_password
secret redis_password
secret api_keys
secret flower_basic_auth unembed:
secret grafana_password
secret metrics_key
if ! grep -qF "$(cat metrics_key)" api_keys; then # Prometheus needs a key of its own, for it reads one from its file
    printf '%s\n%s\n' "$(cat api_keys)" "$(cat metrics_key)" >api_keys.new
    chmod 444 api_keys.new
    mv -f api_keys.new api_keys
fi
echo "Clients need UNEMBED_API_KEY: \$(head -n 1 $(pwd)/api_keys)"
