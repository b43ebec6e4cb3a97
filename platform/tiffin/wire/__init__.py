"""Packed rows, entity-key bytes, segments. Pure numpy; runs inside Triton. Empty: import the module."""
