"""PURE numerics, the one room with numpy and scikit-learn: quantiles of demand ahead."""
