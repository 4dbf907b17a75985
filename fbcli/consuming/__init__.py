"""One run of `fb consume`: the crew of a process, child processes, and the stage they appear on."""
