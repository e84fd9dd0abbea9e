"""Background tasks: sent, paced, run, remembered, counted, and found again when they are lost.

One task's life, from the row in the outbox to the row in the history:

1. ``sending/outbox.py``: a request, a task, beat or a call such as ``task.delay(…)`` writes a row of ``outbox``.
2. ``sending/relay.py``: a thread in every api and worker wakes up, asks ``limits`` how many of each task may start now,
   and has that many published.
3. ``sending/publishing.py``: in one transaction the oldest rows leave ``outbox``, enter ``task`` as PENDING and go to
   the broker as messages. Rebuilds of the same closure become one task here.
4. ``workers/messages.py``: a worker reads the message from the broker, and drops it if it cannot be read.
5. ``workers/request.py``: the worker's main process counts the task and gives it to a process of its pool.
6. ``sending/task.py``: ``WatcherTask.before_start`` records that the try begins, then the task's function runs in that
   process, in a ``task_transaction``. On an error that can pass, ``retry`` puts the next try back to step 1.
7. ``history/backend.py``: Celery reports each state, and the backend writes it into the row of ``task``: PROGRESS, and
   at the end SUCCESS, RETRY or FAILURE.
8. ``keeper/recovery.py``: when the broker or the worker loses the task on the way, the keeper puts it back to step 1
   under the same id.

Beside that: ``queues`` measures how much waits, ``history/routes.py`` shows the tasks, ``wire.py`` has the names that
processes share. This package knows nothing of alerts: the application hands in what the keeper does for them
(``keeper/duties.py``) and what is written when a task fails (``TaskBackend.failure_hooks``).
"""
