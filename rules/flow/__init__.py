"""Rules about signals and gradients on their way through the layers, and about the updates."""
