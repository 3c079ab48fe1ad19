"""The configuration of a process: its file, its variables, and what describes them."""
