"""Reference downstream services that compute, for demonstrations and tests."""
