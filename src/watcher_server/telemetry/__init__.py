"""Following one request through the log and the traces, to the tasks it caused."""
