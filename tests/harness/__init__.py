"""What the tests against a real, running service share: the service, its clients, environments, waiting."""
