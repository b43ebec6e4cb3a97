"""A real Kubernetes control plane with Kueue on one Linux machine, without containers: for tests and for a first look.

Programs are built once from Go modules into the user's cache (`build`), started on 127.0.0.1 (`up`) and
pods run as local processes (`node_agent`). What such a node cannot do is listed in `node_agent`.
"""
