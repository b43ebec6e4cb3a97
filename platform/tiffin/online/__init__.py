"""The online store: contract, Valkey/Redis store, publisher, reader. Empty: the reader runs inside Triton."""
