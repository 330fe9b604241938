"""The sidecar: a proxy in the pod that measures each LLM call and guards it."""
