"""Dagster resources over the library's contracts: how a stack hands its parts to assets."""
