"""Run in an environment with openlineage-python: `python send_events.py NAMESPACE RUNS` reports
so many runs of a load."""

import sys
from datetime import UTC, datetime

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import job_type_job, output_statistics_output_dataset
from openlineage.client.uuid import generate_new_uuid

WAREHOUSE = "postgres://warehouse"


def main(namespace: str, runs: int) -> None:
    client = OpenLineageClient()
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="PYTHON", jobType="SCRIPT")
    job = Job(namespace, "load", {"jobType": kind})
    orders = InputDataset(WAREHOUSE, "shop.public.orders")
    counted = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=3, size=96)
    daily = OutputDataset(WAREHOUSE, "shop.public.daily", outputFacets={"outputStatistics": counted})
    for _ in range(runs):
        run = Run(str(generate_new_uuid()))
        for state, outputs in ((RunState.START, []), (RunState.COMPLETE, [daily])):
            client.emit(
                RunEvent(
                    eventType=state,
                    eventTime=datetime.now(UTC).isoformat(),
                    run=run,
                    job=job,
                    producer="https://shop.example/load",
                    inputs=[orders],
                    outputs=outputs,
                )
            )
    client.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
