"""Submissions: packing results into a folder, and checking such a folder against the suite and its data."""

from harness.run.submission.check import CheckedSubmission, check_submission
from harness.run.submission.pack import pack_submission
from harness.run.submission.suite_fingerprint import suite_fingerprint

__all__ = ["CheckedSubmission", "check_submission", "pack_submission", "suite_fingerprint"]
