"""The page of one pipeline: how it does and why, its numbers, its runs, and what is known of it."""
