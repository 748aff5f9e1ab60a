"""Claims what fits, sees it to its end, leaves."""
