"""The runs of a config over time: `history.py` reads them, `page.py` makes a web page of them."""
