"""The demo page: static files, and what they read of a run."""
