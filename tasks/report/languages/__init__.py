"""The languages of the page: `texts.py` has its texts, `both.py` joins a page in two languages."""
