"""The project around the functions: writing its fb.toml, checking it, showing what is in force,
listing brokers."""
