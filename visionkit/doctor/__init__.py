"""What is wrong with a data set, found before hours of training find out."""
