"""Kafka clients: read, publish, follow, administer; and what each does while no broker answers."""
