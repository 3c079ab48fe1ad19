"""From dead-letter topics to their index in Postgres."""
