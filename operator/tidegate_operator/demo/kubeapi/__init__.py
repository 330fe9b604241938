"""A Kubernetes API inside the process, for the demo and for process-level tests.

Law: small, and honest about what it is: what it answers, it answers as a real API server would,
and what it cannot do it refuses in words. It is held to the real thing by one contract suite
that runs against both.
"""
