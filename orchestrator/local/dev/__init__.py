"""The whole system on one machine: each role a supervised process, and a demonstration."""
