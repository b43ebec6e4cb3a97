"""Thin commands over the rooms."""
