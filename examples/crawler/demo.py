"""Crawl a small site that this script serves by itself; every seventh page fails the first time it
is asked for.

python demo.py            # in a folder of its own below the temporary folder
python demo.py FOLDER     # queue and pages stay in FOLDER
"""

import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
SITE = 150
"""Pages of the site: page n links to 3n+1, 3n+2 and 3n+3, and back to page 0."""

asked: set[int] = set()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        number = int(self.path.strip("/") or 0)
        first, _ = number not in asked, asked.add(number)
        if first and number % 7 == 3:
            self.send_error(503)
            return
        links = [0, *(n for n in range(3 * number + 1, 3 * number + 4) if n < SITE)]
        self.send_response(200)
        self.end_headers()
        self.wfile.write("".join(f'<a href="/{n}">page {n}</a>\n' for n in links).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> int:
    keep = sys.argv[1] if len(sys.argv) > 1 else None
    folder = Path(keep) if keep else Path(tempfile.mkdtemp(prefix="fb-crawler-"))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "crawler.py", folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FB_")}
    server = Server(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start = f"url=http://127.0.0.1:{server.server_port}/0"
    try:
        for words in (
            ["push", "crawler:fetch", start],
            ["consume", "crawler:fetch", "--burst", "--concurrency", "20"],
        ):
            print("$ fb", *words, file=sys.stderr, flush=True)
            subprocess.run(
                [sys.executable, "-m", "fbcli", *words], cwd=folder, env=environment, check=True
            )
        pages = len(list((folder / "pages").glob("*.html")))
    finally:
        server.shutdown()
        server.server_close()
        if keep is None:
            shutil.rmtree(folder)
    print(json.dumps({"pages": pages, "site": SITE}))
    return 0 if pages == SITE else 1


if __name__ == "__main__":
    sys.exit(main())
