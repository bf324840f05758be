"""Files from elsewhere, checked and put in place: the official data, and other people's weights."""
