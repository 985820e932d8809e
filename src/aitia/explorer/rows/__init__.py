"""The rows that are explored: their texts, their columns of scores, and the queries that find them."""
