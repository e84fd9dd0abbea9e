select {{ var('column', 'no_such_column') }} as code from {{ ref('countries') }}
