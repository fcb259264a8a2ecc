"""Reading what people keep priors in: files and folders of many makes, and what they say."""
