"""TLS of the service: which certificate it shows, and whose certificates it accepts."""
