"""Object stores, table stores and the one layout of keys and paths."""
