"""The answers about tasks, in one form for HTTP and gRPC: one module for each subject."""
