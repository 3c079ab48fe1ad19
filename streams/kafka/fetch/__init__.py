"""Turns fetched bytes into records: an unreadable batch does not stop its partition."""
