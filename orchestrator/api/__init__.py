"""The service for callers who do not speak Kafka: use cases, gRPC, HTTP, streaming."""
