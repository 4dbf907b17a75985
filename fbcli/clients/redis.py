"""How Redis is reached, in one place for the brokers and stores that live there: URLs, clients,
errors in plain words.

Knows redis-py and nothing of queues; imports it only when a URL of Redis is used.
"""

from __future__ import annotations

import re
from contextlib import ContextDecorator
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from fbcli.clients.loading import load_library, mask
from fbcli.errors import FbError, Unavailable, Unsupported, UsageError
from fbcli.platform.sockets import keepalive_options

if TYPE_CHECKING:
    from redis import Redis

CONNECT_TIMEOUT = 3.0
"""Seconds to reach a server; shorter than one heartbeat, so that a dead host is told from a slow
one in time."""

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for an answer. Blocking commands wait outside of it: they poll the socket first,
then read."""

MOST_CONNECTIONS = 10_000
"""Of one client. Each thread that waits for a result holds one; redis-py 8 stops at 100 by itself,
and then refuses all."""

SENTINEL_PORT = 26379
REDIS_PORT = 6379


def connect(url: str) -> Redis:
    """Return a thread-safe client for `url`; replies are bytes, commands are never repeated behind
    the caller's back.

    `redis://[user:pass@]host[:port][/db]` and `rediss://…` (TLS) · `redis+list://…` (the same as
    `redis://`) · `redis+sentinel://[user:pass@]h1:26379,h2:26379/service[/db]`
    (`?sentinel_auth=yes`: the sentinels want the same password) ·
    `redis+cluster://[user:pass@]h1:6379,h2:6379`. `?ssl=true` means TLS for the last two; other
    options are redis-py's own.

    Raises `UsageError` for a URL that makes no sense, `MissingLibrary` without redis-py. Note:
    nothing is connected yet, except to a cluster, which is asked for its nodes here: call it at
    first use, within `translating`. The client of a cluster is a `RedisCluster`, which has the same
    commands.
    """
    library = load_library("redis", extra="redis")
    scheme = url.partition("://")[0]
    try:
        if scheme == "redis+sentinel":
            return _connect_sentinel(library, url)
        if scheme == "redis+cluster":
            return _connect_cluster(library, url)
        if scheme in ("redis", "rediss", "redis+list"):
            return _connect_one(library, url)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{mask(url)} is not a Redis URL that makes sense: {error}") from None
    raise UsageError(f"{mask(url)} is not a Redis URL; write it like redis://127.0.0.1:6379/0")


def place_of(url: str) -> object:
    """Return what is the same for two URLs that lead to the same keys of the same server, by the
    same user; None: the keys of a cluster are not in one place."""
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        return None
    sentinel, path = parts.scheme == "redis+sentinel", parts.path.strip("/")
    if not sentinel:
        path = path or "0"
    return sentinel, parts.scheme == "rediss", parts.netloc, path, parts.query


def _connect_one(library: Any, url: str) -> Redis:
    parts = urlsplit(url.replace("redis+list://", "redis://", 1))
    _database(parts.path.strip("/"))
    _ = parts.port  # raises ValueError when it is no port
    return cast(
        "Redis",
        library.Redis.from_url(urlunsplit(parts), retry=_retries(0), **_connection_options()),
    )


def _connect_sentinel(library: Any, url: str) -> Redis:
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(
            "name the service behind the sentinels: redis+sentinel://host:26379/service"
        )
    options, ask_sentinels = _options(parts)
    credentials = {key: value for key, value in options.items() if key in ("username", "password")}
    sentinel_options = {
        **_connection_options(),
        **(credentials if ask_sentinels else {}),
        "retry": _retries(0),
    }
    sentinel_options |= {
        key: value for key, value in options.items() if key == "ssl" or key.startswith("ssl_")
    }
    manager = load_library("redis.sentinel", extra="redis").Sentinel(
        _hosts(parts, SENTINEL_PORT), sentinel_kwargs=sentinel_options
    )
    options = {**_connection_options(), "retry": _retries(0), "db": _database(database), **options}
    return cast("Redis", manager.master_for(unquote(service), **options))


def _connect_cluster(library: Any, url: str) -> Redis:
    parts = urlsplit(url)
    if _database(parts.path.strip("/")):
        raise ValueError("a cluster has no databases but 0")
    cluster = load_library("redis.cluster", extra="redis")
    nodes = [cluster.ClusterNode(host, port) for host, port in _hosts(parts, REDIS_PORT)]
    options, _ = _options(parts)
    return cast(
        "Redis",
        cluster.RedisCluster(
            startup_nodes=nodes, retry=_retries(2), **{**_connection_options(), **options}
        ),
    )


def _connection_options() -> dict[str, Any]:
    """Fail fast, and notice a silent peer within half a minute."""
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": ANSWER_TIMEOUT,
        "socket_keepalive": True,
        "socket_keepalive_options": keepalive_options(idle=15, interval=5, count=3),
        "health_check_interval": 30,
        "max_connections": MOST_CONNECTIONS,
        # the brokers read raw replies: one shape of them, and no push messages in between
        "protocol": 2,
    }


def _retries(count: int) -> Any:
    """How often redis-py tries again by itself: never, since a command whose reply was lost would
    run twice, and what may be repeated is known only above. Only a cluster's client needs some, to
    learn of new primaries."""
    return load_library("redis.retry", extra="redis").Retry(
        load_library("redis.backoff", extra="redis").NoBackoff(), count
    )


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        address = urlsplit(f"//{text}")
        if not address.hostname:
            raise ValueError("a host name is missing")
        hosts.append((address.hostname, address.port or default_port))
    return hosts


def _options(parts: SplitResult) -> tuple[dict[str, Any], bool]:
    """Return the connection options of a URL with several hosts, as redis-py reads them from an
    ordinary one, and whether the sentinels ask for the password too."""
    query = dict(parse_qsl(parts.query))
    ask_sentinels = query.pop("sentinel_auth", "no").lower() in ("yes", "true", "1")
    secure = query.pop("ssl", "no").lower() in ("yes", "true", "1")
    credentials, at, _ = parts.netloc.rpartition("@")
    options = load_library("redis.connection", extra="redis").parse_url(
        f"redis://{credentials}{at}/?{urlencode(query)}"
    )
    options.pop("db", None)
    return ({**options, "ssl": True} if secure else options), ask_sentinels


def _database(text: str) -> int:
    """redis-py takes database 0 for anything that is no number; a typing error must not end up
    there."""
    if text and not text.isdecimal():
        raise ValueError(f"{text!r} is not the number of a database")
    return int(text or 0)


class translating(ContextDecorator):
    """Turn redis-py's errors into `Unavailable` (or `UsageError`, `Unsupported`) with a sentence
    that says what to do.

    A context manager that can be kept and entered again and again, from any thread, and a
    decorator.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, FbError):
            translated = translate(error, self._url)
            if translated is not None:
                raise translated from error


_IN_SCRIPT = re.compile(r"Error running script .*@user_script: ?\d+: -?([A-Z]+) ")


def error_word(error: Exception) -> str:
    """Return the word that says what kind of error a server replied: "WRONGTYPE"; "" when it says
    none.

    Note: redis-py cuts it off where it knows the word; and a Redis before 7 wraps the error of a
    command within a script into a sentence of its own.
    """
    if isinstance(error, load_library("redis.exceptions", extra="redis").ReadOnlyError):
        return "READONLY"
    text = str(error)
    wrapped = _IN_SCRIPT.search(text)  # redis-py says before it which command of a pipeline it was
    if wrapped:
        return wrapped[1]
    word: str = getattr(error, "status_code", None) or text.partition(" ")[0]
    return word if word.isupper() else ""


def translate(error: Exception, url: str) -> FbError | None:
    """Return what `error` of redis-py means to a person, or None when it is none of Redis's
    troubles (a bug, then)."""
    errors = load_library("redis.exceptions", extra="redis")
    server, text = f"Redis at {mask(url)}", str(error).partition(" : <")[0].strip().rstrip(".")
    if isinstance(error, errors.AuthenticationError | errors.NoPermissionError):
        return Unavailable(
            f"{server} refuses this user ({text}). Check the user and password in the URL, and the"
            " ACL."
        )
    if isinstance(error, errors.BusyLoadingError):
        return Unavailable(f"{server} is still loading its data. Try again in a moment.")
    if isinstance(error, errors.TimeoutError | TimeoutError):
        return Unavailable(
            f"{server} did not answer in time ({text}). Is it overloaded, paused, or behind a"
            " firewall?"
        )
    if isinstance(error, errors.ConnectionError | errors.ClusterError | OSError):
        return Unavailable(
            f"{server} cannot be reached ({text}). Is it running, and is the URL right?"
        )
    if isinstance(error, errors.InvalidResponse):
        return Unavailable(
            f"{server} does not speak Redis's protocol ({text}). Is it another kind of server, or"
            " TLS?"
        )
    if isinstance(error, errors.RedisClusterException):
        return Unavailable(
            f"{server} is not a cluster that works ({text}). See what `redis-cli cluster info`"
            " says."
        )
    if isinstance(error, errors.OutOfMemoryError) or "OOM command not allowed" in text:
        return Unavailable(
            f"{server} is out of memory (maxmemory). Consume or clear queues, or give it more"
            " memory."
        )
    word = error_word(error)
    if word == "READONLY":
        return Unavailable(
            f"{server} is a read-only replica. Use the URL of the primary, or redis+sentinel://."
        )
    if not isinstance(error, errors.ResponseError):
        return None
    if isinstance(error, errors.AskError | errors.TryAgainError) or word in (
        "MISCONF",
        "NOREPLICAS",
        "BUSY",
    ):
        return Unavailable(
            f"{server} refuses to work for now ({text}). Look at its log, then try again."
        )
    if word == "WRONGTYPE":
        return UsageError(
            f"{server} keeps other data under this name. Choose another name or database."
        )
    if "unknown command" in text.lower():
        return Unsupported(
            f"{server} is too old or restricted ({text}). Redis 6.2 or newer, or Valkey, is needed."
        )
    return None
