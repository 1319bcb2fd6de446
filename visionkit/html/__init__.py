"""What the HTML pages share: a document shell, charts and tables, without scripts or network access."""
