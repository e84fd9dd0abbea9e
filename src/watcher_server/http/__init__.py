"""What every route shares: sessions, errors, body parsing."""
