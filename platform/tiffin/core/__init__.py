"""Errors, names, digests, clock, units, the frozen spec base and Settings.

Empty on purpose: `tiffin.core.errors` and `tiffin.core.digests` run inside Triton, where
pydantic is not installed. Import the defining module.
"""
