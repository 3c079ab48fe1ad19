"""The index of dead letters in Postgres: write it, isolate a bad row, read pages, rewrite rows."""
