"""The fleet team: what is known about carriers and their planes."""
