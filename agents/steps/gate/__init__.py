"""Which commands may call their service now, and which ones wait."""
