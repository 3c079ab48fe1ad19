"""The dead-letter bench on Kafka: reads the letters, keeps the ledger, replays."""
