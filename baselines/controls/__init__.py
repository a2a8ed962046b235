"""Control rows: methods that no honest table should be without. None of these modules imports torch."""
