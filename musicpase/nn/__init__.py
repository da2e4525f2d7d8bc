"""The PASE and PASE+ encoders as plain PyTorch modules."""
