"""What makes an update quick. Nothing here changes what is computed, but for rounding and which numbers are random."""
