"""What any training needs: early stopping, checkpoints, several processes, devices."""
