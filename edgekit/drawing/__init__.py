"""What pages and texts of more than one family are drawn with: words, style, escaping."""
