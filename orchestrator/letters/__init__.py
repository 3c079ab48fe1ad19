"""Operations on dead letters, for the command line and for the service."""
