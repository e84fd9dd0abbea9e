"""How much waits in the queues, and at which level that is."""
