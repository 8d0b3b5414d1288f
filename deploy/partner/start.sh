#!/bin/sh
# Start the example partner. Its host key is made at the first start; what proves it goes to /public.
set -eu
: "${PARTNER_PASSWORD:?is needed}"
mkdir -p /etc/ssh/keys /public /run/sshd
key=/etc/ssh/keys/ssh_host_ed25519_key
test -e "$key" || ssh-keygen -q -t ed25519 -N '' -C partner -f "$key"
ssh-keygen -lf "$key.pub" | cut -d' ' -f2 > /public/fingerprint
chmod 0644 /public/fingerprint
echo "partner:$PARTNER_PASSWORD" | chpasswd
install -d -o partner -g partner -m 0750 /home/partner/inbox
exec /usr/sbin/sshd -D -e
