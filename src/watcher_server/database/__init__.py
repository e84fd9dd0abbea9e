"""The database: engines, base model, migrations."""

import sys

# Alembic's templates would colour the source code in their errors, and load 40 lexers for that: 4 MB and 70 ms of
# every process. Without them they show it plain.
sys.modules.setdefault("mako.ext.pygmentplugin", None)  # type: ignore[arg-type]
