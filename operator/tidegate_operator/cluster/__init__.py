"""SHELL over kubernetes.aio: pods, scale, status, Events, checkpoints, leadership."""
