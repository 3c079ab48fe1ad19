"""What one caller may take of the service, so that it takes nothing from the others."""
