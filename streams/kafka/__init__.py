"""Clients of Kafka: read, publish, follow, administer; what a broker away means to each."""
