"""Import and export of the catalogue: `shop-api products import` and `export`."""
