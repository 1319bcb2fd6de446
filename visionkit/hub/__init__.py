"""Models on the Hugging Face Hub: pushing one with its model card, and fetching one by hf://owner/name."""
