"""The point-in-time kernel: pure numpy and Arrow, no I/O."""
