"""Dagster sensors that need a company's own services: files that land in a bucket.

Sensors that only read Dagster's event log come from the specs: `TrainingTable(after=["network/*"])`.
"""
