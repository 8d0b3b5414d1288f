"""Generated from `proto/` (`mft.pb.link.v1`); do not edit."""
