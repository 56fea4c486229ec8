"""What runs on a device: files that a bundle carries, none of which imports edgekit."""
