"""PURE: whether a pod gets a sidecar, and the JSON patch that gives it one."""
