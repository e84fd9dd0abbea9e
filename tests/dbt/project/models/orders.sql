select id, country, amount from {{ source('raw', 'orders') }}
