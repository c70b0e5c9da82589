#!/bin/sh
# Writes the permission blocks anew, from the code: after a change of what the router uses, and for a new service
# (sh deploy/nats/write_permissions.sh SOURCE ...: name all of yours).
set -eu
cd "$(dirname "$0")/permissions"
python="${PYTHON:-../../../.venv/bin/python}"
for who in router operator; do
  "$python" -m router.permissions "$who" > "$who.conf"
done
for source in shop crm "$@"; do
  "$python" -m router.permissions service "$source" > "service-$source.conf"
  "$python" -m router.permissions imports "$source" > "imports-$source.conf"
done
"$python" -m router.permissions exports shop crm "$@" > exports.conf
