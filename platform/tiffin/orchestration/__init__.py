"""The only Dagster glue: specs become assets."""
