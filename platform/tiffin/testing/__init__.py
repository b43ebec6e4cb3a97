"""Conformance kits, shipped so that a third party can run them."""
