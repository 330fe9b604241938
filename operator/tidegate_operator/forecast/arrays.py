"""The arrays that this room computes with.

Law: types and units only.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

DAY = 1440
"""Minutes."""
