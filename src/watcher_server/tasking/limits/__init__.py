"""How fast tasks may start, in the whole cluster."""
