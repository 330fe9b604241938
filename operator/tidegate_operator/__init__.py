"""The operator: reads policies, decides, acts, and tells why."""
