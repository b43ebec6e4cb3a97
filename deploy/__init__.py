"""What runs beside the library: the test cluster, rendered team files, and the platform on Kubernetes."""
