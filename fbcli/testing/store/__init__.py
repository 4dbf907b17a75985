"""The tests of the store contract, one subject a file."""
