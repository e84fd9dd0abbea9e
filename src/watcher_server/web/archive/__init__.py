"""The page of what is archived."""
