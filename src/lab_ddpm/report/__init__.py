"""Reports about a run: a page with all that its folder contains, and the lab report of a course."""
