"""report.html, the page that each run leaves. Open `page.py` first; `write.py` commits it."""
