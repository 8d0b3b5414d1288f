#!/usr/bin/env python3
"""Start mft-node: one per machine: takes inbound connections, and outbound transfers when elected."""

from mft.cli.node import main

main()
