"""How much waits in the queues, and telling people when it is too much."""
