"""Processes of fbcli: how one is started, spoken to, and started again. What they do is the matter
of other rooms."""
