"""The catalogue as a file: `shop-api products import` and `export`."""
