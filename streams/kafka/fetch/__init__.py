"""How fetched bytes become records: a batch that nobody can read stops no partition."""
