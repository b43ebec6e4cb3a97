"""From a deployment spec to a live endpoint. Empty: the steps run inside Triton."""
