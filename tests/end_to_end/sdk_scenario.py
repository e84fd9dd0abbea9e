"""What a team does with the published SDK; run in an environment of its own, writes what it saw as JSON."""

import json
import sys
import warnings

import pendulum
from watcher import Address, AddressLineage, ETLResult, Pipeline, PipelineConfig, Watcher, WatcherContext


def address(name: str) -> Address:
    return Address(name=name, address_type_name="postgres", address_type_group_name="database")


def config(name: str, next_watermark: str) -> PipelineConfig:
    return PipelineConfig(
        pipeline=Pipeline(
            name=name,
            pipeline_type_name="SDK loads",
            pipeline_metadata={"Team": "Data"},
            timeliness_number=1,
            timeliness_datepart="hour",
        ),
        address_lineage=AddressLineage(
            source_addresses=[address("raw.public.orders")], target_addresses=[address(f"mart.public.{name}")]
        ),
        default_watermark="2026-01-01",
        next_watermark=next_watermark,
    )


def tracked(client: Watcher) -> dict[str, object]:
    synced = client.sync_pipeline_config(config("tracked", "2026-01-02"))
    seen: list[object] = []

    @client.track_pipeline_execution(
        pipeline_id=synced.pipeline.id,
        active=synced.pipeline.active,
        watermark=synced.watermark,
        next_watermark=synced.next_watermark,
    )
    def load(watcher_context: WatcherContext) -> ETLResult:
        seen.append(watcher_context.watermark)
        return ETLResult(completed_successfully=True, inserts=5, total_rows=5, execution_metadata={"Batch": 1})

    execution = load()
    again = client.sync_pipeline_config(config("tracked", "2026-01-03"))
    return {
        "pipeline_id": synced.pipeline.id,
        "execution_id": execution.execution_id,
        "first_watermark": seen[0],
        "watermark_after": again.watermark,
    }


def failing(client: Watcher) -> dict[str, object]:
    synced = client.sync_pipeline_config(config("failing", "2026-01-02"))

    @client.track_pipeline_execution(pipeline_id=synced.pipeline.id, active=True)
    def load() -> ETLResult:
        raise RuntimeError("the source is away")

    try:
        load()
    except RuntimeError as error:
        return {"pipeline_id": synced.pipeline.id, "raised": str(error)}
    return {"raised": None}


def child(client: Watcher) -> dict[str, object]:
    synced = client.sync_pipeline_config(config("parent", "2026-01-02"))
    parent = client.start_pipeline_execution(synced.pipeline.id)
    done = client.track_child_pipeline_execution(
        synced.pipeline.id, synced.pipeline.active, parent, lambda: ETLResult(completed_successfully=True, updates=2)
    )
    client.end_pipeline_execution(parent, completed_successfully=True, end_date=pendulum.now("UTC"))
    client.update_pipeline_next_watermark(synced.pipeline.id, 77)
    return {"pipeline_id": synced.pipeline.id, "parent": parent, "child": done.execution_id}


def inactive(client: Watcher, pipeline_name: str) -> dict[str, object]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        synced = client.sync_pipeline_config(config(pipeline_name, "2026-01-02"))
    return {"active": synced.pipeline.active, "warned": any("not active" in str(w.message) for w in caught)}


def main() -> None:
    client = Watcher(sys.argv[1], auth=sys.argv[2])
    client.trigger_freshness_check()
    client.trigger_timeliness_check(lookback_minutes=60)
    client.trigger_celery_queue_check()
    found = {
        "tracked": tracked(client),
        "failing": failing(client),
        "child": child(client),
        "inactive": inactive(client, "inactive"),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
