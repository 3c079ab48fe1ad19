"""What operators do with dead letters, for the command line and the service alike."""
