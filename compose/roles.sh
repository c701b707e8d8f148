#!/bin/sh
# The postgres image runs this once, when its data are new: the roles, each with the password that secrets.sh has made.
set -eu
as_superuser() { psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-balances}" "$@"; }
as_superuser --file /usr/local/share/balance-sync/roles.sql
for role in owner worker api ops registrar; do
    # By standard input: arguments are for every user of the machine to see.
    printf "ALTER ROLE bal_%s PASSWORD '%s';\n" "$role" "$(cat "/run/secrets/bal_${role}_password")" | as_superuser
done
