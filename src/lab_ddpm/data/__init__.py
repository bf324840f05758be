"""Every data set as images and labels, and the stream of samples that training sees."""
