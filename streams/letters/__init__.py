"""Dead letters on Kafka: publish, read, keep the ledger of actions, replay."""
