"""Makes the library importable as Salt makes it: by its own name, from ``_utils``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))
