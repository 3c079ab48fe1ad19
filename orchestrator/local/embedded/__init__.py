"""Real Kafka and Postgres, started by us where none is configured."""
