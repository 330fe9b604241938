"""Manifests to values and back: the policy as people write it, the status as they read it."""
