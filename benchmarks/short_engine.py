"""The fixed engine with the steps of the job that `benchmarks.peers` gives to all servers."""

import sys

from benchmarks.fixed_engine import serve_fixed
from benchmarks.peer_servers.job import JOB_S

STEPS = 4  # what a request without a number of steps has

if __name__ == "__main__":
    sys.exit(serve_fixed(JOB_S / STEPS))
