#!/bin/sh
# Writes the permission blocks anew, from the code: after a change of what the router uses, and for a new service
# (sh deploy/nats/write_permissions.sh SOURCE ...: name all of yours). INBOUND says who may read what recipients write, as
# SOURCE:CHANNEL.SENDER with * for any, with spaces between several.
set -euf
cd "$(dirname "$0")/permissions"
python="${PYTHON:-../../../.venv/bin/python}"
inbound=""
for each in ${INBOUND-crm:*.*}; do
  inbound="$inbound --inbound $each"
done
for who in router operator; do
  "$python" -m router.permissions "$who" > "$who.conf"
done
for source in shop crm "$@"; do
  "$python" -m router.permissions service "$source" $inbound > "service-$source.conf"
  "$python" -m router.permissions imports "$source" $inbound > "imports-$source.conf"
done
"$python" -m router.permissions exports shop crm "$@" $inbound > exports.conf
