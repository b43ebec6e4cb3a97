"""Run a transform or a join over tables."""
