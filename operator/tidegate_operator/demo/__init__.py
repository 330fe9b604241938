"""The main job on one machine: an embedded Kubernetes API, a node of processes, a trace, faults, a
report."""
