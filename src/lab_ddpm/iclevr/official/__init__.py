"""Check files from elsewhere and put them in place: the official data, and weights of other programs."""
