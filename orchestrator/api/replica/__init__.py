"""What a replica keeps: its memory of the logs, and its ways to Kafka and Postgres."""
