"""From records and the command line to published calls, and back to their results."""
