"""What is measured, beside what it is measured against: ratios and counts, never times alone."""
