"""Networks: timm backbones, Faster R-CNN around them, and the audit of every transfer."""
