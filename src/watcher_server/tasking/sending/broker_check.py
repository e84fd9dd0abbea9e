"""Whether a broker can do what Watcher needs. What it can never do is said in one sentence, before anything is sent."""

import socket
import ssl
from typing import Any

import redis
from redis.exceptions import AuthenticationError, AuthenticationWrongNumberOfArgsError, ResponseError
from redis.sentinel import MasterNotFoundError

from watcher_server.kit.broker_url import BrokerUrl, parse_broker_url
from watcher_server.tasking.sending.broker import redis_client, sentinel_clients

# The first one with ZRANGE … BYSCORE and ZADD … GT, which kombu uses.
_OLDEST_REDIS = (6, 2)

_CLUSTER = (
    "The broker is a node of a Redis Cluster, which Celery cannot use: give Watcher a server of its own, or servers "
    "with Sentinels."
)
_REPLICA = (
    "The broker is a replica and takes no tasks: point WATCHER_BROKER_URL at the primary, or at the Sentinels that "
    "know it."
)
_OLD = "The broker is older than Redis 6.2: give Watcher Redis 6.2 or newer, or Valkey."
_NOT_ENCRYPTED = (
    "The broker does not answer by TLS: name its port for TLS in WATCHER_BROKER_URL, or write redis:// or sentinel://."
)
_PASSWORD = "The broker refuses the user or the password: correct WATCHER_BROKER_URL."  # noqa: S105 - a sentence
_RIGHTS = "The broker's user may not do all that Watcher needs: give it the rights in docs/broker.md"
# Closed in the middle: the server may be restarting.
_PASSING_TLS_ERRORS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class UnfitBrokerError(Exception):
    """The broker answers and cannot be used; the message is one sentence that says what to do."""


def require_broker(broker_url: str) -> None:
    """Pass if the broker can do all that Watcher needs; some seconds at most.

    Raises UnfitBrokerError if it cannot, and time will not change that; redis.RedisError or OSError if it is away now.
    """
    broker = parse_broker_url(broker_url)
    try:
        if broker.master_name is not None:
            _require_primary(broker, broker.master_name)
        with redis_client(broker_url) as client:
            reason = why_unfit(client.execute_command("HELLO"))
            # A Sentinel may name a primary that has just become a replica.
            if reason is not None and not (reason == _REPLICA and broker.master_name):
                raise UnfitBrokerError(reason)
            _try_rights(client, broker)
    except ResponseError as error:
        reason = lasting_reason(error)
        if reason == f"{_RIGHTS}.":
            # A sentence for a terminal: the broker's own words name the user, and the command or key.
            reason = f"{_RIGHTS} (it says: {str(error).rstrip('.')})."
        if reason is None:
            raise
        raise UnfitBrokerError(reason) from None
    except (redis.RedisError, OSError) as error:
        if (reason := lasting_reason(error) or _why_silent(broker)) is not None:
            raise UnfitBrokerError(reason) from None
        raise


def why_unfit(hello: Any) -> str | None:
    """Why the broker that gave this answer to HELLO cannot be used; None if it can."""
    pairs = hello.items() if isinstance(hello, dict) else zip(hello[::2], hello[1::2], strict=False)
    about = {_text(name): _text(value) for name, value in pairs}
    version = tuple(int(part) for part in about.get("version", "").split(".")[:2] if part.isdigit())
    if about.get("mode") == "cluster":
        return _CLUSTER
    if about.get("mode") == "sentinel":
        return "A Sentinel answers where the broker should: write WATCHER_BROKER_URL=sentinel://…/0?master_name=NAME."
    if about.get("server") == "redis" and version and version < _OLDEST_REDIS:
        return _OLD
    if about.get("role") in {"replica", "slave"}:
        return _REPLICA
    return None


def lasting_reason(error: Exception) -> str | None:
    """Why the broker will go on to refuse, without names of hosts and users; None for an error that can pass."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "The broker's certificate cannot be verified: name the file of the authority that signed it with "
                "ssl_ca_certs in WATCHER_BROKER_URL, and the broker as the certificate does."
            )
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _PASSING_TLS_ERRORS):
            return (
                "The broker and Watcher cannot agree on TLS: use the broker's port for it, and name the client "
                "certificate that the broker may ask for with ssl_certfile and ssl_keyfile in WATCHER_BROKER_URL."
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return _PASSWORD
    if isinstance(error, ResponseError):
        return _lasting_answer(str(error).lower())
    return None


def away_text(error: Exception) -> str:
    """Why the broker is not there now, for a log: redis-py describes each Sentinel with all its options."""
    if isinstance(error, MasterNotFoundError):
        return "no Sentinel that answers knows a primary that is well"
    return str(error).rstrip(".")


def _lasting_answer(answer: str) -> str | None:
    # Before Redis 6 a password for a named user is one argument too many.
    if "no permissions" in answer:
        return f"{_RIGHTS}."
    if "unknown command" in answer and "hello" in answer:
        return _OLD
    if "cluster mode" in answer:
        return _CLUSTER
    if "db index" in answer:
        return "The broker has no database of that number: correct the end of WATCHER_BROKER_URL."
    return _PASSWORD if "auth" in answer and "password" in answer else None


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _require_primary(broker: BrokerUrl, name: str) -> None:
    """Raise UnfitBrokerError if the Sentinels that answer know no primary of that name, or one refuses to say."""
    known: set[str] = set()
    for sentinel in sentinel_clients(broker):
        try:
            with sentinel:
                known |= {_text(master) for master in sentinel.sentinel_masters()}
        except (redis.RedisError, OSError) as error:
            if "unknown command" in str(error).lower():
                raise UnfitBrokerError(
                    "A broker answers where WATCHER_BROKER_URL names a Sentinel: name the Sentinels and their port, "
                    "26379 by default."
                ) from None
            reason = lasting_reason(error)
            if reason == _PASSWORD:
                reason = "A Sentinel refuses the user or the password: correct sentinel_username and sentinel_password."
            if reason is not None:
                said = reason.replace("The broker", "A Sentinel").replace("the broker", "the Sentinel")
                raise UnfitBrokerError(said) from None
    if known and name not in known:
        listed = ", ".join(sorted(known))
        raise UnfitBrokerError(f"The Sentinels know no primary {name}, only {listed}: correct master_name.")


def _why_silent(broker: BrokerUrl) -> str | None:
    """Whether only TLS keeps both from talking: a broker that gets the wrong one hangs up, or is silent."""
    # Nothing secret is sent.
    if broker.path is not None:
        return None
    try:
        if broker.tls is not None:
            return _NOT_ENCRYPTED if _answers_unencrypted(broker) else _why_no_tls(broker, broker.tls)
        with (
            socket.create_connection(broker.hosts[0], timeout=1) as connection,
            ssl._create_unverified_context().wrap_socket(connection),  # noqa: S323, SLF001 - only whether it is TLS
        ):
            return "The broker answers by TLS only: write rediss://, or sentinels://, in WATCHER_BROKER_URL."
    except OSError:
        return None


def _answers_unencrypted(broker: BrokerUrl) -> bool:
    with socket.create_connection(broker.hosts[0], timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        try:
            return connection.recv(1) in {b"+", b"-"}
        except OSError:
            return False


def _why_no_tls(broker: BrokerUrl, files: dict[str, str]) -> str | None:
    context = ssl.create_default_context()
    if "ssl_ca_certs" in files:
        context.load_verify_locations(files["ssl_ca_certs"])
    if "ssl_certfile" in files:
        context.load_cert_chain(files["ssl_certfile"], files.get("ssl_keyfile"))
    try:
        with (
            socket.create_connection(broker.hosts[0], timeout=1) as connection,
            context.wrap_socket(connection, server_hostname=broker.hosts[0][0]) as encrypted,
        ):
            # A broker that wants a certificate says so when the handshake is over. A client that writes then
            # finds the connection closed and does not read why.
            encrypted.recv(1)
    except ssl.SSLError as error:
        return lasting_reason(error)
    return None


def _try_rights(client: Any, broker: BrokerUrl) -> None:
    """Do once all that Celery and Watcher do, with keys of its own; raises ResponseError if the user may not."""
    key = f"{broker.prefix}watcher:probe"
    channels = f"{broker.prefix}/{broker.database}."
    with client.pipeline(transaction=False) as tried:
        for command in _commands(key, channels):
            tried.execute_command(*command)
        answers = tried.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, ResponseError) and lasting_reason(answer):
            raise answer
    client.transaction(lambda transaction: transaction.get(key), key)
    script = client.register_script("return redis.call('GET', KEYS[1])")
    script(keys=[key])
    client.script_exists(script.sha)
    with client.pubsub() as subscriber:
        for pattern in ("celery.pidbox", "celeryev/worker.*"):
            subscriber.psubscribe(channels + pattern)
            subscriber.get_message(timeout=1.0)


def _commands(key: str, channels: str) -> list[tuple[str | int, ...]]:
    """Each command once; they leave no key."""
    waiting, table, ordered, several = (f"{key}:{kind}" for kind in ("list", "hash", "sorted", "set"))
    return [
        *(("LPUSH", waiting, 1, 2), ("RPUSH", waiting, 3), ("LLEN", waiting), ("LRANGE", waiting, -1, -1)),
        *(("LINDEX", waiting, -1), ("RPOP", waiting), ("BRPOP", waiting, 1)),
        *(("HSET", table, "field", 1), ("HGET", table, "field"), ("HLEN", table), ("HSCAN", table, 0)),
        *(("HDEL", table, "field"), ("ZADD", ordered, 1, "member"), ("ZRANGE", ordered, 0, -1)),
        *(("ZREM", ordered, "member"), ("SADD", several, 1), ("SMEMBERS", several), ("SREM", several, 1)),
        *(("SET", key, 1, "PX", 1000), ("GET", key), ("PEXPIRE", key, 1000), ("EXISTS", key)),
        # An empty message reaches no process that acts on it.
        *(("PUBLISH", f"{channels}celery.pidbox", ""), ("PUBLISH", f"{channels}celeryev/worker.probe", "")),
        ("DEL", key, waiting, table, ordered, several),
    ]
