"""The services that train and serve models: AutoML Vision and AutoML on Vertex AI, behind one protocol."""
