"""What the HTML pages share: one document shell, charts and tables; no script, no network."""
