"""The statements that create many addresses at once, whose rows come as one JSON text."""

CREATE_ADDRESS_TYPES = """
INSERT INTO address_type (name, group_name)
SELECT DISTINCT ON (wanted.type_name) wanted.type_name, wanted.group_name
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (type_name text, group_name text)
WHERE NOT EXISTS (SELECT FROM address_type WHERE address_type.name = wanted.type_name)
ORDER BY wanted.type_name
ON CONFLICT (name) DO NOTHING
"""

# The closure row of depth 0 is written with its address.
CREATE_ADDRESSES = """
WITH created AS (
    INSERT INTO address (name, display_name, address_type_id, database_name, schema_name, table_name)
    SELECT wanted.name, wanted.display_name, address_type.id,
        wanted.database_name, wanted.schema_name, wanted.table_name
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
        name text, display_name text, type_name text, database_name text, schema_name text, table_name text
    )
    JOIN address_type ON address_type.name = wanted.type_name
    WHERE NOT EXISTS (SELECT FROM address WHERE address.name = wanted.name)
    ORDER BY wanted.name
    ON CONFLICT (name) DO NOTHING
    RETURNING id
)
INSERT INTO address_lineage_closure (source_address_id, target_address_id, depth, lineage_path)
SELECT id, id, 0, ARRAY[id] FROM created
"""
