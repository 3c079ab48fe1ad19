"""What the projection requires of a database: version, encoding, rights, settings."""
