"""The network team: what is known about carriers and airports."""
