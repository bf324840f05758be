"""Models for other programs: as a folder for the Hugging Face Hub, for ONNX Runtime, for torch.export."""
