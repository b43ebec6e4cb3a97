"""Hashes of code by what it means: what a function's result depends on in its own module."""
