"""The house rules as tests: those that no linter has."""
