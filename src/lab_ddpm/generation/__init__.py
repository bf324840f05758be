"""Use of a trained model: generating, placing, editing and interpolating images."""
