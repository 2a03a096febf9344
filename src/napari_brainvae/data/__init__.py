"""The population: sections of many brains, what is known of them, and what is done to them."""
