"""The broker's URL means the same to Celery and to Watcher's own connections."""

from typing import Any

import pytest
from celery import Celery

from tests.support.certificates import certificate
from watcher_server.kit.broker_url import parse_broker_url
from watcher_server.settings import SettingsError, load_settings
from watcher_server.tasking.sending.broker import async_redis_client, redis_client
from watcher_server.tasking.sending.configuration import broker_configuration


def _celery_options(url: str) -> dict[str, Any]:
    """What kombu makes of it, by redis-py's names."""
    app = Celery(set_as_current=False)
    app.conf.update(broker_configuration(load_settings(broker_url=url)))
    connection = app.connection_for_read()
    named = {"host": connection.hostname, "port": connection.port, "db": int(connection.virtual_host.strip("/") or 0)}
    encrypted: Any = connection.ssl or {}
    return {**named, "username": connection.userid, "password": connection.password, **encrypted}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "127.0.0.1", "port": 6379, "db": 0, "username": None}),
        ("redis://broker:7000/2", {"host": "broker", "port": 7000, "db": 2}),
        ("redis://[fd00::7]:7000/2", {"host": "fd00::7", "port": 7000, "db": 2}),
        ("redis://me:p%40s%2Fs%3B@broker", {"username": "me", "password": "p@s/s;", "db": 0}),
        ("redis://:only@broker//3", {"username": None, "password": "only", "db": 3}),
        (
            "rediss://broker:7001/1?ssl_cert_reqs=CERT_REQUIRED",
            {"host": "broker", "db": 1, "ssl_cert_reqs": "required", "ssl_check_hostname": True},
        ),
        ("rediss://broker", {"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
    ],
)
def test_urls(url: str, expected: dict[str, Any]) -> None:
    own, own_async = (
        client.connection_pool.connection_kwargs for client in (redis_client(url), async_redis_client(url))
    )
    for options in (own, own_async, _celery_options(url)):
        assert {name: options.get(name) for name in expected} == expected
    assert own["socket_timeout"] == 2


@pytest.mark.parametrize(
    ("url", "path", "database"),
    [
        ("redis+socket:///run/a%20b/v.sock?virtual_host=4", "/run/a b/v.sock", 4),
        ("redis+socket:///run/v@1.sock", "/run/v@1.sock", 0),
    ],
)
def test_sockets(url: str, path: str, database: int) -> None:
    options = redis_client(url).connection_pool.connection_kwargs
    assert (options["path"], options["db"]) == (path, database)


def test_every_sentinel_is_asked_with_the_same_users() -> None:
    url = "sentinel://me:p%3Bw@s1,[::1]:26380,s3:7/2?master_name=mq&sentinel_password=asked&prefix=shop:"
    configuration = broker_configuration(load_settings(broker_url=url))
    urls = configuration["broker_url"].split(";")
    assert urls == [f"sentinel://me:p%3Bw@{host}/2" for host in ("s1:26379", "[::1]:26380", "s3:7")]
    options = configuration["broker_transport_options"]
    assert (options["master_name"], options["global_keyprefix"]) == ("mq", "shop:")
    assert options["sentinel_kwargs"]["password"] == "asked"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "amqp://secret@mq",
            "must start with redis://, rediss://, redis+socket://, sentinel:// or sentinels://, not amqp",
        ),
        ("redis://:secret@mq1,mq2/0", "has several hosts, which redis:// cannot have"),
        ("redis://:secret@mq?health=1", "has health, which means nothing with redis://"),
        ("redis://:secret@mq?ssl_ca_certs=/ca.pem", "redis:// is not encrypted: write rediss://"),
        ("sentinel://:secret@s1?master_name=mq&ssl_ca_certs=/c", "sentinel:// is not encrypted: write sentinels://"),
        ("rediss://:secret@mq?ssl_cert_reqs=none", "switches the check of the broker's certificate off"),
        ("rediss://:secret@mq?ssl_check_hostname=false", "has ssl_check_hostname, which means nothing"),
        ("rediss://:secret@mq?ssl_ca_certs=/nowhere.pem", "a file that cannot be read as ssl_ca_certs: /nowhere.pem"),
        ("sentinel://:secret@s1,s2/0", "add ?master_name=NAME"),
        ("redis://:secret@mq/shop", "must end with the number of a database"),
        ("redis://:secret@mq?prefix=shop*", "has a prefix that cannot be"),
        ("redis://:sec/ret@mq", "must be percent-encoded"),
        ("redis://:sec@ret@mq", "must be percent-encoded"),
        ("redis://me:12?ret@mq", "must be percent-encoded"),
        ("redis+socket://secret", "names no socket"),
        ("secret:mq", "is no such URL"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(broker_url=url)
    message = str(refused.value)
    assert message.startswith("WATCHER_BROKER_URL ")
    assert sentence in message
    assert not any(part in message for part in ("secret", "sec/ret", "ret@"))


def test_files_for_tls_reach_every_connection(tmp_path: Any) -> None:
    pair = certificate(tmp_path)
    files = {"ssl_ca_certs": str(pair.certificate), "ssl_certfile": str(pair.certificate), "ssl_keyfile": str(pair.key)}
    query = "&".join(f"{name}={path}" for name, path in files.items())
    configuration = broker_configuration(load_settings(broker_url=f"sentinels://s1/0?master_name=mq&{query}"))
    assert parse_broker_url(f"rediss://mq?{query}").tls == files
    assert configuration["broker_use_ssl"].items() >= files.items()
    assert configuration["broker_transport_options"]["sentinel_kwargs"].items() >= files.items()
