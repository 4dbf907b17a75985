"""A pool whose calls run in child processes."""
