"""The subcommands of `fb`: one file each, imported when it runs. Each parses, calls one thing in
the core, and renders."""
