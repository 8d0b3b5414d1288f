"""Host keys: what we make, OpenSSH accepts, and its fingerprints are ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mft.errors import Invalid
from mft.services.host_keys import fingerprint, make_host_keys, public_line


def test_openssh_reads_what_we_make(tmp_path: Path) -> None:
    """Goal: keys are plain OpenSSH. Method: ssh-keygen's public line and fingerprint of each."""
    keys = make_host_keys()
    assert [public_line(pem).split()[0] for pem in keys] == ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]
    for number, pem in enumerate(keys):
        path = tmp_path / str(number)
        path.write_text(pem)
        path.chmod(0o600)
        told = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], capture_output=True, text=True, check=True).stdout
        assert fingerprint(pem) in told
        line = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
        assert line.split()[:2] == public_line(pem).split()


def test_rubbish_is_refused_without_being_quoted() -> None:
    """Goal: a clear error without the secret. Method: rubbish with and without a PEM's look."""
    for rubbish in ("hidden", "-----BEGIN OPENSSH PRIVATE KEY-----\nhidden\n-----END OPENSSH PRIVATE KEY-----\n"):
        with pytest.raises(Invalid) as caught:
            fingerprint(rubbish)
        assert "hidden" not in str(caught.value)
