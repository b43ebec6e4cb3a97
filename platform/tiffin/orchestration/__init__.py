"""The only Dagster glue: specs become assets.

Empty on purpose: `tiffin.orchestration.catalog` is read by programs that never load Dagster.
Teams write `from tiffin.orchestration.definitions import team_definitions`.
"""
