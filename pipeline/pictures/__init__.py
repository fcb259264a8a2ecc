"""Files of pictures, masks and kernels: from bytes to arrays and back."""
