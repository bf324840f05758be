"""Training a denoiser: settings, the run and its folder, the states to resume from, the choice of the best."""
