"""What an explicit like button adds to prediction, with honest uncertainty."""
