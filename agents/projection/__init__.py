"""From the log to rows: the sink's work, late rows, and a rebuild."""
