"""The worker, its engine process and the courier. This package imports `app`, and `app` never imports it."""
