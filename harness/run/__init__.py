"""Running a suite: plan, train what is missing, score, keep."""
