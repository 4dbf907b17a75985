"""One run of `fb consume`: the consumers of one process, or child processes that have them, its
signals, logs and views."""
