"""Tests of the remotes. A package, so that pytest ends the servers of its tests when the last has run."""
