"""How good a model is: its answers on test images, figures, report and thresholds."""
