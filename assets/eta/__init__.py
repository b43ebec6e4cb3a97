"""The eta team: how late a flight will arrive, asked at its scheduled departure."""
