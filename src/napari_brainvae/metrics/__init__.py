"""What is measured of images, of codes and of impacts."""
