"""The design that articles on this subject praise, beside ours: an LSTM that foretells a point."""
