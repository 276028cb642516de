"""A file of the project that the training script never imports."""
