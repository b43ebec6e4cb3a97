"""Dagster sensors that teams share: landed data, freshness, retraining. None yet."""
