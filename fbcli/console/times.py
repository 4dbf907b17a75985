"""Times as a person reads them."""

from __future__ import annotations

from datetime import datetime

UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def span(seconds: float) -> str:
    """Return seconds in at most two units: `0.4s`, `12s`, `4m 10s`, `1h`, `3d 2h`. Negative ones
    count as none."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}".rstrip("0").rstrip(".") + "s"
    if seconds > 1e10:
        return "centuries"
    rest = round(seconds)
    for index, (size, unit) in enumerate(UNITS):
        if rest >= size:
            whole, rest = divmod(rest, size)
            if index + 1 < len(UNITS):
                smaller, smaller_unit = UNITS[index + 1]
                if rest // smaller:
                    return f"{whole:,}{unit} {rest // smaller}{smaller_unit}"
            return f"{whole:,}{unit}"
    return "0s"


def ago(moment: float | None, now: float) -> str | None:
    """Return how long ago a Unix time was; None for none."""
    return None if moment is None else f"{span(now - moment)} ago"


def due(moment: float, now: float) -> str:
    """Return when a Unix time to come is, in local time, and how far off: `18:00:00 (in 2h 5m)`."""
    if moment <= now:
        return "now"
    if moment - now > 3650 * 86400:
        return "in more than ten years"
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    shown = then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M:%S")
    return f"{shown} (in {span(moment - now)})"


def local(moment: float) -> str:
    """Return a Unix time in local time; one that no calendar holds as the number that it is."""
    try:
        return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(moment)
