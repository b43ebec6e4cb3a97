"""The local stack: start, stop, doctor."""
