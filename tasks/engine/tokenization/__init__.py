"""Text to token ids and back, equal to PaddleNLP's tokenizer. Open `tokenizer.py` first."""
