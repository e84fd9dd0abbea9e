"""Statements as they may be shown."""

import pytest

from watcher_server.diagnostics.sessions import mask_statement


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT *\n  FROM pipeline\tWHERE id = $1", "SELECT * FROM pipeline WHERE id = $1"),
        ("WHERE name = 'secret' AND id = 7", "WHERE name = '…' AND id = 7"),
        ("WHERE name = 'it''s secret'", "WHERE name = '…'"),
        (r"WHERE name = E'it\'s secret' OR 1", "WHERE name = '…' OR 1"),
        ("DO $$ secret 'x $$ ; SELECT $tag$ secret $$ $tag$", "DO '…' ; SELECT '…'"),
        ('SELECT "it\'s", \'secret\' FROM "a"', 'SELECT "it\'s", \'…\' FROM "a"'),
        ("SELECT 1 -- don't\n, 'secret'", "SELECT 1 , '…'"),
        ("SELECT /* don't */ 'secret'", "SELECT '…'"),
        ("SELECT /* a /* don't */ it's */ 'secret'", "SELECT '…'"),
        ("WHERE name = 'cut off in the middle of a secr", "WHERE name = '…'"),
        ("SELECT 1 /* cut off in a secr", "SELECT 1"),
        ("SELECT $$ cut off in a secr", "SELECT '…'"),
    ],
)
def test_what_somebody_wrote_into_a_statement_is_hidden(statement: str, shown: str) -> None:
    assert mask_statement(statement) == shown


def test_a_long_statement_is_cut() -> None:
    shown = mask_statement("SELECT " + "x, " * 500)
    assert len(shown) == 200
    assert shown.endswith("…")
