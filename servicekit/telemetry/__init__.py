"""What must be seen of a running service: logs, metrics, traces and the port they are read from."""
