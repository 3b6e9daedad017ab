"""Self-supervised methods, one file a method; `pretext` says what each must offer."""
