"""tiffin: packed once, served hot.

The top of the package stays empty: what runs inside Triton imports `tiffin.wire` and must
not pay for anything else. Teams import from the rooms (`from tiffin.features import feature_view`).
"""

__version__ = "0.1.0"
