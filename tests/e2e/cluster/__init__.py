"""Tests of a whole running cluster. A package, so that pytest ends the cluster when its last test has run."""
