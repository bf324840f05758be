"""A trained model at work: generating, placing, editing and interpolating images."""
