"""External validation: a run's network on pictures from elsewhere, with everything fixed that the run chose."""
