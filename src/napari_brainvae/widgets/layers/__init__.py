"""Between layers and arrays; without Qt."""
