"""``python -m watcher_server.cli``, which is how ``watcher up`` starts its children."""

from watcher_server.cli.entry import main

main()
