"""What touches Keras's private parts, or one backend alone."""
