"""What an entry says of a change, and what it never says."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DatabaseError

from tests.audit.test_routes import entries
from tests.conftest import MakeClient
from tests.support.factories import end, make_pipeline, start
from watcher_server.audit.acting import Actor, ActorKind, acting_as
from watcher_server.audit.service import Change, record
from watcher_server.auth.service import create_token, revoke_token

ANN = Actor("ann", ActorKind.CLI, "ann@host")
CHANNEL = {"type": "webhook", "url": "https://hooks.example/T0/very-secret", "signing_keys": ["whsec_c2VjcmV0LWtleQ=="]}


def _told(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["action"], entry["object_kind"], entry["object_name"], entry["before"], entry["after"]


async def test_an_entry_has_the_fields_that_differ_and_no_other(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = await make_pipeline(client, "Orders Daily", owner="ann", freshness_number=1, freshness_datepart="day")
    await client.patch("/pipeline", json={"id": pipeline, "owner": "bob", "freshness_number": 1, "active": False})
    made_type, made, changed = entries(engine)
    assert _told(made_type)[:3] == ("create", "pipeline_type", "extraction")
    assert made["before"] is None
    assert made["after"] == {
        "owner": "ann",
        "freshness_number": 1,
        "freshness_datepart": "day",
        "pipeline_type_id": 1,
    }
    before, after = {"owner": "ann", "active": True}, {"owner": "bob", "active": False}
    assert _told(changed) == ("change", "pipeline", "Orders Daily", before, after)
    assert changed["object_id"] == str(pipeline)


async def test_what_is_so_already_leaves_no_entry(client: httpx.AsyncClient, engine: Engine) -> None:
    body = {"name": "orders", "pipeline_type_name": "load", "owner": "ann", "next_watermark": "1"}
    await client.post("/pipeline", json=body)
    there = len(entries(engine))
    # A body of every run, and others that say what is so.
    assert (await client.post("/pipeline", json={**body, "next_watermark": "2"})).status_code == 200
    assert (await client.patch("/pipeline", json={"id": 1, "owner": "ann"})).is_success
    assert (await client.post("/pipeline_type", json={"name": "load"})).is_success
    assert (await client.delete("/rate-limits/detect_anomalies_task")).is_success
    assert (await client.post("/pipeline/1/restore")).is_success
    assert len(entries(engine)) == there


async def test_what_runs_and_pings_report_leaves_no_entry(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline = await make_pipeline(client)
    key = (await client.post("/ping_key", json={"name": "cron"})).json()["key"]
    there = len(entries(engine))
    await end(client, await start(client, pipeline))
    lineage = {
        "pipeline_id": pipeline,
        "source_addresses": [{"name": "raw", "address_type_name": "t", "address_type_group_name": "database"}],
        "target_addresses": [{"name": "ready", "address_type_name": "t", "address_type_group_name": "database"}],
    }
    assert (await client.post("/address_lineage", json=lineage)).is_success
    # It also makes a pipeline.
    assert (await client.post(f"/ping/{key}/nightly?create=1")).is_success
    assert len(entries(engine)) == there


async def test_secrets_are_in_no_entry(make_client: MakeClient, engine: Engine) -> None:
    async with make_client(secret_key="k" * 44) as client:
        assert (await client.put("/alerting/channels/hooks", json=CHANNEL)).is_success
        other = {**CHANNEL, "url": "https://hooks.example/T0/other-secret"}
        assert (await client.put("/alerting/channels/hooks", json=other)).is_success
        metadata = {
            "api_key": "hunter-2",
            "url": "postgres://me:hunter-2@db/x",
            "stage": "raw",
            "deep": [{"token": "hunter-2"}],
        }
        await make_pipeline(client, pipeline_metadata=metadata)
        renewed = (await client.post("/pipeline/1/ping_url")).json()["ping_url"]
        key = (await client.post("/ping_key", json={"name": "cron"})).json()["key"]
    with engine.begin() as connection, acting_as(ANN):
        token = create_token(connection, "nightly", "write")
    found = entries(engine)
    written = str(found)
    for secret in ("very-secret", "other-secret", "whsec_", "hunter-2", renewed.rpartition("/")[2], key, token):
        assert secret not in written
    made, changed = found[:2]
    assert made["after"]["url"] == {"stored": True}
    # That it is another one is told all the same.
    assert changed["after"] == {"given_anew": ["signing_keys", "url"]}
    metadata = next(entry for entry in found if entry["object_kind"] == "pipeline")["after"]["pipeline_metadata"]
    assert metadata == {"api_key": "***", "url": "postgres://me:***@db/x", "stage": "raw", "deep": [{"token": "***"}]}


async def test_a_long_value_is_cut(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, pipeline_metadata={"note": "x" * 10_000})
    kept = entries(engine)[-1]["after"]["pipeline_metadata"]
    assert len(kept) < 5_000
    assert kept.endswith("… (10,012 characters)")


async def test_of_two_changes_at_once_each_tells_what_it_found(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, owner="nobody")
    there = entries(engine)[-1]["id"]
    owners = [f"owner {number}" for number in range(8)]
    await asyncio.gather(*(client.patch("/pipeline", json={"id": 1, "owner": owner}) for owner in owners))
    found = entries(engine, there)
    assert sorted(entry["after"]["owner"] for entry in found) == owners
    # A chain: each began where another ended, so no change is lost between two.
    begun = {entry["before"]["owner"]: entry["after"]["owner"] for entry in found}
    owner, seen = "nobody", 0
    while owner in begun:
        owner, seen = begun[owner], seen + 1
    assert seen == len(owners)


async def test_a_change_that_is_rolled_back_leaves_no_entry(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client, "orders")
    await make_pipeline(client, "lines")
    there = len(entries(engine))
    # The name is taken: the owner is not written either.
    assert (await client.patch("/pipeline", json={"id": 2, "name": "orders", "owner": "ann"})).status_code == 400
    document = {"version": 1, "calendars": {"office": {"zone": "UTC", "weekly": ["mon 08:00-18:00"]}}}
    wrong = {**document, "routes": [{"name": "r", "to": ["nowhere"]}]}
    assert (await client.post("/alerting/apply", json={"document": wrong, "origin": "w.yaml"})).status_code == 422
    tried = {"document": document, "origin": "w.yaml", "dry_run": True}
    assert (await client.post("/alerting/apply", json=tried)).is_success
    assert len(entries(engine)) == there


async def test_a_file_is_named_as_what_made_the_change(client: httpx.AsyncClient, engine: Engine) -> None:
    await make_pipeline(client)
    last = entries(engine)[-1]["id"]
    document = {
        "version": 1,
        "pipelines": [{"pipeline": "orders", "owner": "ann", "rules": [{"metric_field": "inserts", "z_threshold": 4}]}],
    }
    body = {"document": document, "origin": "watcher.yaml"}
    assert (await client.post("/alerting/apply", json=body)).is_success
    found = entries(engine, last)
    assert [(entry["action"], entry["object_kind"]) for entry in found] == [
        ("create", "file_entry"),
        ("change", "pipeline"),
        ("create_rule", "pipeline"),
    ]
    assert {(entry["actor_kind"], entry["source"]) for entry in found} == {("file", "127.0.0.1 watcher.yaml")}
    assert found[2]["after"] == {"rule": "inserts", "inserts.z_threshold": 4.0}
    # The same again changes nothing.
    assert (await client.post("/alerting/apply", json=body)).is_success
    assert entries(engine, found[-1]["id"]) == []


async def test_the_address_that_a_stranger_claims_is_not_believed(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "ann", "admin")
    async with make_client() as client:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        await client.post("/pipeline_type", json={"name": "load"}, headers=headers)
    assert [(entry["actor"], entry["source"]) for entry in entries(engine)] == [("ann", "127.0.0.1")]


def test_what_watcher_does_by_itself_leaves_no_entry(engine: Engine) -> None:
    with engine.begin() as connection:
        create_token(connection, "nightly", "read")
        revoke_token(connection, "nightly")
    assert entries(engine) == []


def test_entries_are_never_changed(engine: Engine) -> None:
    with engine.begin() as connection, acting_as(ANN):
        record(connection, Change("create", "token", 1, "nightly"))
    with pytest.raises(DatabaseError, match="never changed"), engine.begin() as connection:
        connection.execute(text("UPDATE audit_entry SET actor = 'bob'"))
