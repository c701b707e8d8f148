#!/bin/sh
# Makes what docker-compose.yml takes as secrets: a password for each role of Postgres and each user of Redis, the URLs
# that hold them, the key that tokens are signed with, the operators' token. Run it in the project's folder; run it again
# after an update: what is there stays, what is missing is added, and redis.acl is made anew of the passwords that there are.
#
# The files can be read by every user, since the processes in the containers are another one; so the folder that they
# are in can be entered by its owner alone.
set -eu
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets

random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
new() { [ -s "$1" ] || { cat > "$1.new" && mv "$1.new" "$1" && echo "made secrets/$1"; }; }

random 24 | new postgres_password
for role in owner worker api ops registrar; do
    random 24 | new "bal_${role}_password"
    printf 'postgresql://bal_%s:%s@postgres/balances' "$role" "$(cat "bal_${role}_password")" | new "${role}_database_url"
done
for user in worker api ops registrar; do
    random 24 | new "redis_${user}_password"
    printf 'redis://%s:%s@redis:6379/0' "$user" "$(cat "redis_${user}_password")" | new "${user}_redis_url"
done
random 32 | new jwt_secret
random 32 | new ops_token
random 24 | new grafana_password
printf '' > empty
for url in ethereum_rpc_urls tron_rpc_urls tron_api_keys networks.toml networks.env alert_webhook_url; do [ -e "$url" ] || cp empty "$url"; done
rm -f empty
# Redis is given digests of the passwords alone.
digest() { sha256sum < "redis_$1_password" | cut -d ' ' -f 1; }
sed -e "s/>WORKER_PASSWORD/#$(digest worker)/" -e "s/>API_PASSWORD/#$(digest api)/" -e "s/>OPS_PASSWORD/#$(digest ops)/" \
    -e "s/>REGISTRAR_PASSWORD/#$(digest registrar)/" ../config/redis.acl > redis.acl
chmod 644 -- *
[ -s ethereum_rpc_urls ] || [ -s tron_rpc_urls ] || [ -s networks.env ] ||
    echo "Now write your nodes' URLs into secrets/ethereum_rpc_urls or secrets/tron_rpc_urls, of other networks into secrets/networks.env."
