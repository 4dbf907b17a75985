"""Where `fb` begins (and `python -m fbcli`, which is the same)."""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the installed `fb`.

    Note: nothing is collected while modules are imported, since they are there to stay; a third of
    the time that a short command takes went into looking through them, at the start and again at
    the end. `app` collects as usual from when the command itself begins.
    """
    gc.disable()
    from fbcli.commands.app import main as run  # noqa: PLC0415

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
