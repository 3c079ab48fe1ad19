"""The service for callers that do not use Kafka: use cases, gRPC, HTTP, streaming."""
