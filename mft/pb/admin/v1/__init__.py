"""Generated from `proto/` (`mft.pb.admin.v1`); do not edit."""
