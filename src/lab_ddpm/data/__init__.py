"""Every data set as pictures and labels, and the stream of samples that training sees."""
