"""Generated message classes and gRPC stubs. Made from `proto/` by `make proto`; never edited by hand."""
