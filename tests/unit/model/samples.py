"""Documents that tests begin with."""

from __future__ import annotations

from typing import Any

from mft.model.document import read

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJlbGlldmUgbWUgdGhpcyBpcyAzMiBieXRlcyE9 alice@example.net"
FINGERPRINT = "SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0"

GOOD = f"""
[server]
name = "Test"

[services.main]
type = "sftp"
run_on = "nodes"
[services.main.listener]
port = 2222

[accounts.alice]
password = "correct horse"
ssh_authorized_keys = ["{PUBLIC_KEY}"]
home_folder_path = "/srv/home/alice"

[locations.local]
type = "local"

[locations.partner]
type = "sftp"
address = "partner.example.net"
username = "us"
password = "s3cret of the partner"
host_keys = ["{FINGERPRINT}"]

[transfers.out]
run_on = "nodes"
source_location = "local"
source_path = "/srv/out"
destination_location = "partner"
destination_path = "in"

[event-handlers.file]
type = "local-file"
name = "Log File"
path = "/var/logs/sftpplus-{{host.name}}.log"

[nodes.n1.labels]
site = "north"
[nodes.n1.variables]
folder = "one"
[nodes.n1.overrides.services.main.listener]
port = 2223
"""


def good() -> dict[str, Any]:
    """Return a document in which all is right."""
    return read(GOOD)
