"""What a started process leaves for the garbage collector to look at."""

import sys

from tests.support import processes

LOOKED_AT_MAX = 2000
START = """
import gc
import app.main
from app.garbage import collect_as_usual, collect_rarely

collect_rarely()
collect_as_usual()
print(len(gc.get_objects()))
"""


def test_objects_of_start_are_not_looked_at_again():
    """A full collection looks at no object of the imports: a hundred thousand stop every thread for a tenth of a second."""
    answer = processes.run([sys.executable, "-c", START], check=True)

    assert int(answer.stdout) < LOOKED_AT_MAX
