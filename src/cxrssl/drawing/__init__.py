"""Pictures for people: figures' parts, boxes drawn on images, sheets of views."""
