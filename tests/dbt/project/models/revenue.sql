select countries.name, sum(amount) as revenue
from {{ ref('recent_orders') }} as orders join {{ ref('countries') }} as countries on countries.code = orders.country
group by 1
