"""What a build would take, reckoned before it runs: rows, disk, forward passes, time, GPU hours."""
