select * from {{ ref('revenue') }} where revenue > {{ var('most', 5) }}
