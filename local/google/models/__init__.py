"""The local cloud's models: really trained, and answered for as AutoML Vision and Vertex AI answer."""
