"""A deterministic world in which the real plans of publishers and readers meet every fault we can think of."""
