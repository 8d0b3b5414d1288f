"""Generated from `proto/` (`mft.pb.admin`); do not edit."""
