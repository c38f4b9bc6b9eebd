"""One module per service that makes machines."""
