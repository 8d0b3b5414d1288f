#!/usr/bin/env python3
"""Start mft-admin: the administrator's command line."""

from mft.cli.admin import main

main()
