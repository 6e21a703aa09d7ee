"""The worker, its engine process and the courier. This package imports `app`, and `app` never imports it."""

import app  # noqa: F401 -- first of all: it hides unused parts of libraries
