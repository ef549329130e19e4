"""The optional engine over PaddleNLP's FasterTransformer operators (GPU only).

Open `export.py` first; `compatibility.py` lists every reason why it cannot be used.
"""
