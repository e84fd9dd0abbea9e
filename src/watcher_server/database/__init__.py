"""The database: engines, base model, migrations."""
