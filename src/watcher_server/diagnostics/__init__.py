"""How the engines, the workers and what waits between them are doing: read, and judged."""
