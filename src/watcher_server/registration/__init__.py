"""How a pipeline makes itself known before it runs."""
