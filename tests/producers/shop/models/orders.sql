SELECT id, country, {{ "amount / no_such_column" if var("broken", false) else "amount" }} AS amount
FROM {{ ref("raw_orders") }}
