#!/usr/bin/env python3
"""Start mft-demo: the whole cluster on this machine, losing its leader."""

from mft.cli.demo import main

main()
