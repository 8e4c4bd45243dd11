"""The local run: the programs around the services, started and stopped with them."""
