"""Makes the modules of ../gtcrn importable: speech, noise, mix, heldout.

They come after this folder in the search path, so names of this folder win.
"""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "gtcrn"))
