"""Input images before anything is queued: data URIs and the checking of what callers send."""
