"""Configuration files for stock TF Serving, and the check that they fit the exported models."""
