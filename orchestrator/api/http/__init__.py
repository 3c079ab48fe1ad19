"""The service over HTTP and WebSocket: routes, bodies, problems, the OpenAPI page."""
