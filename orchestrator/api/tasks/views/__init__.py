"""What the service answers about tasks, in one form for HTTP and gRPC: a module a subject."""
