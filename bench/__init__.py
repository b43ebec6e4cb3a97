"""Measurements: ratios to peers and to floors, in one run. A test never asserts a time."""
