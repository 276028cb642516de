"""Rules about the Hessian of the loss, measured at the script's own parameters."""
