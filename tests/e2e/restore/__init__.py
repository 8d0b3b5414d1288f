"""After a restore of etcd."""
