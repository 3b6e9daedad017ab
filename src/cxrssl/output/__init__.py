"""What a person reads: figures and pages. Takes plain values, opens no run and no model."""
