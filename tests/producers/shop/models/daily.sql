SELECT country, sum(amount) AS revenue FROM {{ ref("orders") }} GROUP BY country
