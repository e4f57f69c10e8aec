"""TensorBoard's event files, read without TensorFlow."""
