#!/usr/bin/env python3
"""Start mft-controller: owns the configuration, and may take part as an agent."""

from mft.cli.controller import main

main()
