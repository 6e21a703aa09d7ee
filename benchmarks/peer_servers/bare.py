"""No server: draws in a loop. Reads a JSON list of prompt, width and height a line, and prints the seconds and the PNG in base64."""

import json
import sys
import time
from base64 import b64encode

from benchmarks.peer_servers.job import load_job

if __name__ == "__main__":
    draw = load_job()
    for line in sys.stdin:
        began = time.perf_counter()
        png = draw(*json.loads(line))
        print(time.perf_counter() - began, b64encode(png).decode(), flush=True)
