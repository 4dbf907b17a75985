"""Values as text and as JSON: durations, sizes, moments, windows, thresholds; and the kinds of
options."""
