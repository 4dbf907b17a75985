"""A crawler: each task fetches one page, saves it, and pushes the links it finds. Standard library
only.

fb push crawler:fetch url=http://127.0.0.1:8000/
fb consume crawler:fetch --concurrency 200 --qps 50
"""

import asyncio
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from fbcli import boost

PAGES = Path(os.environ.get("CRAWLER_PAGES", "pages"))
LINK = re.compile(rb'<a href="([^"]+)"')


@boost(retries=5, backoff=0.05, timeout=30)
async def fetch(url: str) -> int:
    """Fetch a page, save it, push its links; return how many. A page that is there already is not
    fetched again."""
    if _file(url).exists():
        return 0
    body = await get(url)
    links = {urljoin(url, link.decode()) for link in LINK.findall(body)}
    here = urlsplit(url).netloc
    new = [link for link in links if urlsplit(link).netloc == here and not _file(link).exists()]
    await fetch.apush_many({"url": link} for link in new)
    _save(
        _file(url), body
    )  # last: killed before this, the task runs again and pushes the links again; nothing is missed
    return len(new)


async def get(url: str) -> bytes:
    """Fetch by HTTP/1.0; raises `OSError` for every status but 200, so that the task is tried
    again."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    status = head.split(maxsplit=2)[1]
    if status != b"200":
        raise OSError(f"{url}: HTTP {status.decode()}")
    return body


def _file(url: str) -> Path:
    return PAGES / f"{hashlib.sha256(url.encode()).hexdigest()}.html"


def _save(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.{id(body)}.part")
    half.write_bytes(body)
    os.replace(half, path)
