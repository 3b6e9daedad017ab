"""Networks: timm backbones, torchvision's Faster R-CNN around them, and the audit of every transfer."""
