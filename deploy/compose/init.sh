#!/bin/sh
# Make the cluster's keys, once, and lay out for the nodes what tells them whom to believe. No secret leaves here.
set -eu
home=/var/lib/mft/controller
if ! test -e "$home/signing.key"; then
    mft-controller init --data "$home"
fi
cp "$home/public.json" /var/lib/mft/trust/public.json
