"""PURE: what a policy would have done on a history, beside others, and whether it would have
paid."""
