"""Programs that Triton's python backend runs. They import numpy, the Redis client and `tiffin.wire` only."""
