"""Real Kafka and Postgres, started by us if none is configured."""
