"""Who the endpoints of a service are: a list, DNS, or a registry."""
