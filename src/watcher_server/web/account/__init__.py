"""The page of the one who is logged in: sessions, and for administrators tokens and people."""
