"""Tests of the Link. A package, so that pytest ends the cluster of its tests when the last has run."""
