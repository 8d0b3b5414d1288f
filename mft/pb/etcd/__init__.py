"""Generated from `proto/` (`mft.pb.etcd`); do not edit."""
