"""What the database has to be: version, encoding, rights, settings."""
