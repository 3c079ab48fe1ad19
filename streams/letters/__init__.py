"""Dead letters on Kafka: read, keep the ledger of actions, replay."""
