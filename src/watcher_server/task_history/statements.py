"""The statements by which the result backend keeps the history; each by the primary key of ``task``."""

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

# None of these waits for the disk (synchronous_commit): should the database's machine crash, the last moment of the
# history is lost, and what is then unfinished runs again. What is lost is always the end of the log, so a success that
# is still there has everything behind it that was written before.
_META = bindparam("meta", type_=JSONB(none_as_null=True))
_TRIED = bindparam("tried", type_=JSONB)

# A try that was under way already died with its process, and is written down as such; unless it is the next try that
# comes, whose predecessor failed while the database was away.
BEGIN = text("""
UPDATE task SET state = 'PROGRESS', meta = :meta, worker_id = :worker_id, retries = :retries,
    started_at = clock_timestamp(), finished_at = NULL, coalesced_into = NULL,
    deaths = deaths + CAST(state = 'PROGRESS' AND retries >= :retries AS int),
    history = CASE WHEN state = 'PROGRESS' AND retries >= :retries THEN history || jsonb_build_object(
        'at', clock_timestamp(), 'exc_type', 'WorkerLostError', 'exc_message', 'The process that ran it died.',
        'retries', retries) ELSE history END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = :id AND state <> 'SUCCESS'
RETURNING deaths
""").bindparams(_META)

PROGRESS = text("""
UPDATE task SET state = :state, meta = :meta
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = :id AND state <> 'SUCCESS'
""").bindparams(_META)

# A failure may be told twice, such as that of a task over its time limit, and is one entry.
FINISH = text("""
UPDATE task SET state = CAST(:state AS text), meta = :meta, retries = :retries, traceback = :traceback,
    finished_at = CASE WHEN CAST(:state AS text) <> 'RETRY' THEN clock_timestamp() END,
    history = CASE WHEN jsonb_array_length(:tried) > 0 AND state <> CAST(:state AS text)
        THEN history || jsonb_set(:tried, '{0,at}', to_jsonb(clock_timestamp())) ELSE history END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS unhurried
WHERE id = :id AND state <> 'SUCCESS'
""").bindparams(_META, _TRIED)

# A task that somebody sent straight to the broker.
INSERT = text("""
INSERT INTO task (id, name, kwargs, queue, state, meta, retries, pipeline_id, pipeline_execution_id,
    created_at, published_at, started_at, worker_id)
SELECT :id, :name, given.kwargs, :queue, 'PROGRESS', :meta, :retries,
    watcher_task_subject(given.kwargs, '{pipeline_id}'),
    watcher_task_subject(given.kwargs, '{pipeline_execution_id,execution_id}'),
    clock_timestamp(), clock_timestamp(), clock_timestamp(), :worker_id
FROM (SELECT CAST(:kwargs AS jsonb)) AS given (kwargs)
ON CONFLICT (id) DO NOTHING
""").bindparams(_META, bindparam("kwargs", type_=JSONB))

FIND = text("""
SELECT asked.id, asked.name, asked.kwargs, asked.queue, done.state, done.meta, done.traceback, done.retries,
    done.finished_at, worker.name AS worker
FROM task AS asked
JOIN task AS done ON done.id = coalesce(asked.coalesced_into, asked.id)
LEFT JOIN worker ON worker.id = done.worker_id
WHERE asked.id = :id
""")

FORGET = text("DELETE FROM task WHERE id = :id")
