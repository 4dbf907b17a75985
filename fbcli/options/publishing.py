"""The options that publishing needs. The others are the consumer's matter: to push, neither the
controls are imported nor what is set for them is looked at."""

from __future__ import annotations

from fbcli.options.queue import QueueOptions
from fbcli.options.running import RunningOptions
from fbcli.values.declaration import options_of

PUBLISHING = {
    **options_of(QueueOptions),
    "batch": options_of(RunningOptions)["batch"],
}
"""Where messages go, and what may be in them."""
