"""The service over gRPC: messages to requests, errors to statuses."""
