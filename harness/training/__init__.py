"""Shared parts of training: early stopping, checkpoints, schedules, windows, several processes, devices."""
