"""The main job, start to end: one message for each file of the standard library, consumed by two
processes, results added up.

python examples/census/demo.py            # in a folder of its own below the temporary folder
python examples/census/demo.py FOLDER     # queue and results stay in FOLDER
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
QUEUE = "census.census"


def main() -> int:
    keep = sys.argv[1] if len(sys.argv) > 1 else None
    folder = Path(keep) if keep else Path(tempfile.mkdtemp(prefix="fb-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "census.py", folder)
    files = sorted(
        str(path)
        for path in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")
        if "site-packages" not in path.parts
    )
    (folder / "files.ndjson").write_text(
        "".join(json.dumps({"path": path}) + "\n" for path in files)
    )
    begun = time.monotonic()
    try:
        fb(folder, "push", "census:census", "--from", "files.ndjson")
        fb(folder, "consume", "census:census", "--processes", "2", "--results", "--burst")
        fb(folder, "queues")
        summary = add_up(folder)
    finally:
        if keep is None:
            shutil.rmtree(folder)
    summary["seconds"] = round(time.monotonic() - begun, 1)
    print(json.dumps(summary))
    return 0 if summary["files"] == len(files) else 1


def fb(folder: Path, *arguments: str) -> None:
    """Run a command as it would be typed, and show it."""
    print("$ fb", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "fbcli", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FB_")}
    subprocess.run(command, cwd=folder, check=True, env=environment)


def add_up(folder: Path) -> dict[str, object]:
    """Add up the results that the consumers saved."""
    from fbcli.settings import load

    results = load(folder, {}).open_store().results(QUEUE, limit=1_000_000)
    values = sorted(
        (result.value for result in results if result.state == "succeeded"),
        key=lambda value: value["path"],
    )
    digest = hashlib.sha256("".join(value["sha256"] for value in values).encode())
    return {
        "files": len(values),
        "lines": sum(value["lines"] for value in values),
        "words": sum(value["words"] for value in values),
        "functions": sum(value["functions"] for value in values),
        "sha256": digest.hexdigest(),
    }


if __name__ == "__main__":
    sys.exit(main())
