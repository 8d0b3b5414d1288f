"""Tests of transfers. A package, so that pytest ends the server of its tests when the last has run."""
