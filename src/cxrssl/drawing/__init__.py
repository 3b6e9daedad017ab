"""Parts of figures, boxes drawn on images, sheets of images."""
