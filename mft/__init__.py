"""A managed file transfer cluster, coordinated through etcd. `ARCHITECTURE.md` beside this file is the map."""
