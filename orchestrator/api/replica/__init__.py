"""The state of a replica: its memory of the logs, and its connections to Kafka and Postgres."""
