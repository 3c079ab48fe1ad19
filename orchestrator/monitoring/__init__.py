"""What operators look at: the metrics and the health of each process."""
