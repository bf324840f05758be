"""Export of models: to a folder for the Hugging Face Hub, to ONNX Runtime, and to torch.export."""
