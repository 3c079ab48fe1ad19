"""Tokens of an OIDC issuer, in place of keys."""
