"""These tests share `plane.py` and `scenes.py`, also with the processes that they start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
