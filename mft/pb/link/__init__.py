"""Generated from `proto/` (`mft.pb.link`); do not edit."""
