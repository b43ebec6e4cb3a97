"""Model versions, code snapshots, promotion."""
