"""Tasks whose calls run in child processes: what is asked of a child, and what happens in it."""
