"""The fixtures of compute_server.py."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from compute_server import *  # noqa: E402,F401,F403
