"""The network team: what is known about airports, routes and weather."""
