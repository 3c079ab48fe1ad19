"""The Faust application: its consumer, delivery in lanes, acknowledgement, the watchdog."""
