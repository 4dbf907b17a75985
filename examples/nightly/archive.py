"""Plain functions for `nightly.sh`; nothing in here knows of fb."""

import gzip
import os
import shutil
from pathlib import Path


def compress(path: str) -> int:
    """Write PATH.gz beside a file and remove the file; return how many bytes that saved.

    It may run twice (at least once is the promise), so it does no harm the second time: the .gz
    appears whole or not at all.
    """
    source, target = Path(path), Path(f"{path}.gz")
    if not source.exists() and target.exists():
        return 0
    half = target.with_suffix(".part")
    with source.open("rb") as original, gzip.open(half, "wb") as packed:
        shutil.copyfileobj(original, packed)
    os.replace(half, target)
    saved = source.stat().st_size - target.stat().st_size
    source.unlink()
    return saved
