"""The tests. They drive real servers and real programs over real sockets; what they run against is in `tests.rig`."""
