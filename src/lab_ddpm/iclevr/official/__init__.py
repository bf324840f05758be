"""Files from elsewhere, checked and put in place: the official data, other people's weights."""
