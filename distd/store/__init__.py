"""The store: blobs that are being filled, blobs that are verified, and the Hugging Face cache made of them."""
