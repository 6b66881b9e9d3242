"""A model of one's own: trained on this machine, written as one ONNX file."""
