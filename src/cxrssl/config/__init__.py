"""Recipes and plans: their fields (`schema`, `plan`) and how they are read (`load`)."""
