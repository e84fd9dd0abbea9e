"""Small things that every domain shares: field types, errors, fingerprints."""
