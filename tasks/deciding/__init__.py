"""The rules, one module for each kind of input; :mod:`tasks.decide` is their table."""
